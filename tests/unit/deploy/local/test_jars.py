"""Only the locked jars are ever run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from deploy.local.jars import LOCK_FILE, JarLock, fetch
from pipeline.errors import Fatal, TryAgain

GOOD = b"a jar"
SHA256 = hashlib.sha256(GOOD).hexdigest()


@dataclass
class ServedArtifact:
    """An artifact whose repository serves `served`, once what lies in the cache is gone."""

    path: Path
    served: bytes | Exception
    downloads: int = 0

    def resolve(self) -> Path:
        if not self.path.exists():
            self.downloads += 1
            if isinstance(self.served, Exception):
                raise self.served
            self.path.write_bytes(self.served)
        return self.path


def test_a_jar_in_the_cache_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(GOOD)
    artifact = ServedArtifact(tmp_path / "x.jar", GOOD)
    assert fetch(artifact, "g:x:1", SHA256) == tmp_path / "x.jar"  # type: ignore[arg-type]
    assert artifact.downloads == 0


def test_a_jar_that_a_killed_download_cut_off_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(GOOD[:2])
    artifact = ServedArtifact(tmp_path / "x.jar", GOOD)
    assert fetch(artifact, "g:x:1", SHA256).read_bytes() == GOOD  # type: ignore[arg-type]
    assert artifact.downloads == 1


def test_another_jar_under_the_same_name_is_refused_and_does_not_stay(tmp_path: Path) -> None:
    artifact = ServedArtifact(tmp_path / "x.jar", b"something else")
    with pytest.raises(Fatal, match=r"x\.jar has SHA-256 .* not run and deleted"):
        fetch(artifact, "g:x:1", SHA256)  # type: ignore[arg-type]
    assert not (tmp_path / "x.jar").exists()


def test_a_repository_that_cannot_be_reached_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="cannot fetch g:x:1 from Maven: OSError: no route"):
        fetch(ServedArtifact(tmp_path / "x.jar", OSError("no route")), "g:x:1", SHA256)  # type: ignore[arg-type]


def test_the_lock_names_every_jar_with_version_and_hash_and_no_address() -> None:
    lock = msgspec.json.decode(LOCK_FILE.read_bytes(), type=JarLock)
    assert "org.apache.kafka:kafka_2.13:4.3.1" in lock.jars
    assert all(re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", coordinate) for coordinate in lock.jars)
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in lock.jars.values())
    assert b"http" not in LOCK_FILE.read_bytes()
