"""Compose files as Docker Compose sees them: variables filled in, `extends` followed, overrides merged.

A small part of the Compose specification, as much as our files use. With Docker Compose at hand, compare with
`docker compose -f … config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests import ROOT

DEPLOY = ROOT / "deploy"
FOLDER = DEPLOY / "compose"
BASE = "compose.yaml"
OVERRIDES = sorted(path.name for path in FOLDER.glob("compose.*.yaml"))
VARIABLES = {"KAFKA_REMOTE_HOST": "kafka.example.org", "DUMPS": "/path/to/dumps"}
"""Those that have no default."""
OURS = "cirrostream:"
"""How the names of our images begin."""

# ${NAME}, ${NAME-default}, ${NAME:-default}, ${NAME:?what is missing}; $$ is a dollar.
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<rest>[^}]*))?\}")
APPENDED = {"ports", "volumes", "tmpfs", "secrets", "profiles", "env_file"}


def project(*files: str, **variables: str) -> dict[str, Any]:
    """The project that these files of deploy/compose make, with VARIABLES and these."""
    return composed(*files, variables={**VARIABLES, **variables})


def services(*files: str, **variables: str) -> dict[str, Mapping[str, Any]]:
    """The services of that project."""
    found: dict[str, Mapping[str, Any]] = project(*files, **variables)["services"]
    return found


def dockerfile() -> str:
    """The Dockerfile without comments, each instruction on one line."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    return re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))


def composed(*files: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The project that these files of deploy/compose make, the later ones over the earlier."""
    project: dict[str, Any] = {}
    for file in files:
        project = merge(project, _extended(load(file, variables or {}), variables or {}))
    return {key: value for key, value in project.items() if not key.startswith("x-")}


def load(file: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """One file with its variables filled in."""
    loaded: dict[str, Any] = _filled(yaml.safe_load((FOLDER / file).read_text()), variables)
    return loaded


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings key by key; most lists are joined, a volume replaces one of the same target."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        elif key in APPENDED and isinstance(old, list) and isinstance(value, list):
            merged[key] = list({_target(key, item): item for item in [*old, *value]}.values())
        else:
            merged[key] = value
    return merged


def argv(service: Mapping[str, Any]) -> list[str]:
    """What the container of one of our services runs, without the script that wraps the writer."""
    command = [*service.get("entrypoint", []), *service.get("command", [])]
    return command[1:] if command[:1] == ["one-writer"] else command


def used_variables(file: str) -> set[str]:
    """Names of the variables that stand in a file."""
    return {found["name"] for found in VARIABLE.finditer((FOLDER / file).read_text()) if found["name"]}


def ours(project: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in project["services"].items() if service["image"].startswith(OURS)}


def _extended(project: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    services = {}
    for name, service in project.get("services", {}).items():
        base = service.get("extends")
        own = {key: value for key, value in service.items() if key != "extends"}
        services[name] = merge(load(base["file"], variables)["services"][base["service"]], own) if base else own
    return {**project, "services": services}


def _target(key: str, item: Any) -> Any:
    return item.split(":")[1] if key == "volumes" and isinstance(item, str) else str(item)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _value(found, variables), value)
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    return [_filled(item, variables) for item in value] if isinstance(value, Sequence) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    given, kind, rest = variables.get(found["name"]), found["kind"] or "", found["rest"] or ""
    if given is None or (kind.startswith(":") and not given):
        assert not kind.endswith("?"), f"{found['name']} is not set: {rest}"
        return rest
    return given
