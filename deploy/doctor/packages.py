"""Python and the packages: there, and of the versions that pyproject.toml asks for."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deploy.doctor.context import Context
from deploy.doctor.findings import Check, Finding, fail, ok, warn
from pipeline.settings import kafka_settings

INSTALL = "make setup, or: pip install 'cirrostream[demo]'"
FAST = ("crc32c", "zstandard")
"""Without crc32c Kafka's checksums run in Python, at a tenth of the speed; without zstandard our topics cannot be
read. kafka-python does without either, and says nothing."""

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def declared() -> tuple[str, list[str], list[str]]:
    """Of this project: versions of Python, requirements, and those of the local Kafka and the demo.

    A checkout's pyproject.toml counts; its metadata may be those of an older installation.
    """
    if PYPROJECT.is_file():
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"], project["optional-dependencies"]["demo"]
    found = metadata.metadata("cirrostream")
    listed = [Requirement(line) for line in metadata.requires("cirrostream") or []]
    base = [str(r) for r in listed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found["Requires-Python"], base, [str(r) for r in listed if _only_for(r, "demo")]


def wrong(requirements: Iterable[str]) -> Iterator[str]:
    """The requirements that are not met, as `lancedb is missing` or `torch is 2.1, needs >=2.8`."""
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} is {version}, needs {requirement.specifier}"


def local_kafka_lacks() -> Iterator[str]:
    """Needs of a Kafka on this machine that are not met."""
    yield from wrong(declared()[2])


def _only_for(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _python(_: Context) -> Finding:
    wanted = SpecifierSet(declared()[0])
    version = ".".join(map(str, sys.version_info[:3]))
    if version in wanted:
        return ok(f"Python {version}")
    return fail(f"Python {version}, needs {wanted}", "make setup PYTHON=python3.12")


def _installed(_: Context) -> Finding:
    requirements = declared()[1]
    found = list(wrong(requirements))
    if not found:
        return ok(f"all {len(requirements)} packages are there, crc32c and zstandard among them")
    names = {line.partition(" ")[0] for line in found}
    mended = " ".join(f"'{r}'" for line in requirements if (r := Requirement(line)).name in names)
    return fail("; ".join(found) + _slow(names), f"{Path(sys.executable)} -m pip install {mended}")


def _slow(names: set[str]) -> str:
    return "; Kafka would crawl, or not be read at all" if names & set(FAST) else ""


def _local_kafka(_: Context) -> Finding:
    found = list(local_kafka_lacks())
    if not found:
        return ok("the packages of the local Kafka and of the demo are there")
    if kafka_settings().bootstrap_servers:
        return ok("without the packages of the local Kafka, which is not used here")
    return warn("for a Kafka on this machine: " + "; ".join(found), "pip install 'cirrostream[demo]'")


CHECKS = (
    Check("packages.python", _python, INSTALL),
    Check("packages.installed", _installed, INSTALL),
    Check("packages.local_kafka", _local_kafka, INSTALL),
)
