"""The documents say what is there: every setting, every command, every file that they point to."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from pipeline.cli import ARGUMENT, FLAG
from pipeline.settings import KafkaSettings, Settings
from tests import ROOT

PACKAGES = ("pipeline", "producers", "consumers", "sinks", "deploy")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
ROW = re.compile(r"^\| `(--[a-z-]+)` \| `(CIRROSTREAM_[A-Z_]+)` \| (?:`([^`]*)`)? *\| .+ \|$", re.MULTILINE)
PLACE = re.compile(r"`((?:tests|bench|docs|deploy|grafana|pipeline|producers|consumers|sinks)/[\w/.-]+)`")
KAFKA_ROW = re.compile(r"^\| `(KAFKA_[A-Z_]+)` \| ", re.MULTILINE)


def import_everything() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            importlib.import_module(module.name)


def settings_classes(base: type[BaseSettings]) -> set[type[BaseSettings]]:
    ours = {kind for kind in base.__subclasses__() if kind.__module__.split(".")[0] in PACKAGES}
    return {base}.union(*map(settings_classes, ours)) if ours else {base}


def as_row(key: str, field: FieldInfo) -> tuple[str, str, str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    flag = str(extra.get(FLAG) or "--" + key.replace("_", "-"))
    shown = "" if field.annotation is bool or field.default in (None, "", [], ()) else str(field.default)
    return flag, f"CIRROSTREAM_{key.upper()}", shown


def declared() -> set[tuple[str, str, str]]:
    import_everything()
    return {
        as_row(key, field)
        for kind in settings_classes(Settings)
        for key, field in kind.model_fields.items()
        if field.annotation is not SecretStr
        and not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(ARGUMENT))
    }


def test_configuration_lists_exactly_the_settings_that_there_are_with_their_defaults() -> None:
    documented = set(ROW.findall((ROOT / "docs" / "configuration.md").read_text()))
    assert documented == declared()


def test_configuration_lists_exactly_the_settings_of_the_cluster() -> None:
    documented = set(KAFKA_ROW.findall((ROOT / "docs" / "configuration.md").read_text()))
    assert documented == {f"KAFKA_{key.upper()}" for key in KafkaSettings.model_fields}


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        place = (document.parent / target).resolve() if target else document
        assert place.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in _anchors(place), f"{document.name} links to {target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_folders_and_files_of_the_repository_that_are_named_exist(document: Path) -> None:
    for place in set(PLACE.findall(document.read_text())):
        assert (ROOT / place).exists(), f"{document.name} names {place}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_environment_variables_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    known = {env for _, env, _ in declared()} | {"CIRROSTREAM_LOG_LEVEL"}
    assert set(re.findall(r"\bCIRROSTREAM_[A-Z_]+[A-Z]", text)) <= known
    for module in set(re.findall(r"python -m ((?:pipeline|producers|consumers|sinks|deploy)[a-z_.]*[a-z])", text)):
        assert importlib.util.find_spec(module), f"{document.name} names python -m {module}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (
        set(re.findall(r"\bmake (setup|demo|test|lint|bench|faults|clean|format|soak|dashboards)\b", text)) <= targets
    )
