"""The documents say what is there: every setting, every command, every file that they point to."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from deploy.command import COMMANDS, Commands
from pipeline.cli import ARGUMENT, FLAG
from pipeline.settings import KafkaSettings, Settings
from tests import ROOT

PACKAGES = ("pipeline", "producers", "consumers", "sinks", "deploy")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
ROW = re.compile(r"^\| `(--[a-z-]+)` \| `(CIRROSTREAM_[A-Z_]+)` \| (?:`([^`]*)`)? *\| .+ \|$", re.MULTILINE)
PLACE = re.compile(r"`((?:tests|bench|docs|deploy|grafana|pipeline|producers|consumers|sinks)/[\w/.-]+)`")
COMMAND = re.compile(
    r"(?:`|^(?:[A-Z_]+=\S+ )*)(?:\.venv/bin/)?cirrostream ((?:produce |sink )?[a-z][a-z-]*)", re.MULTILINE
)
"""In a command line: at the beginning of a line, behind variables for it, or of a span of code."""
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


def secrets() -> set[str]:
    """Settings without a flag."""
    import_everything()
    fields = (item for kind in settings_classes(Settings) for item in kind.model_fields.items())
    return {f"CIRROSTREAM_{key.upper()}" for key, field in fields if field.annotation is SecretStr}


def test_configuration_names_the_secrets() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert {name for name in secrets() if f"`{name}`" in text} == secrets() != set()


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
    known = {env for _, env, _ in declared()} | secrets() | {"CIRROSTREAM_LOG_LEVEL"}
    assert set(re.findall(r"\bCIRROSTREAM_[A-Z_]+[A-Z]", text)) <= known
    for module in set(re.findall(r"python -m ((?:pipeline|producers|consumers|sinks|deploy)[a-z_.]*[a-z])", text)):
        assert importlib.util.find_spec(module), f"{document.name} names python -m {module}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (
        set(re.findall(r"\bmake (setup|demo|check|test|lint|bench|faults|clean|format|soak|dashboards|docs)\b", text))
        <= targets
    )
    assert set(COMMAND.findall(text)) <= commands(), document.name


def commands() -> set[str]:
    """The words behind `cirrostream`."""
    top = {name: place for below in COMMANDS.values() for name, place in below.items()}
    deeper = {f"{name} {one}" for name, place in top.items() if isinstance(place, Commands) for one in place.commands}
    return set(top) | deeper


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released, _, unfinished = version.partition(".dev")
    text = (ROOT / "CHANGELOG.md").read_text()
    assert (
        re.search(rf"^## {re.escape(released)} - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
        if not unfinished
        else ("\n## [Unreleased]\n" in text and f"`{version}`" in text)
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents as a site, made as strictly as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


def test_every_link_anchor_and_page_of_the_site_is_there(site: Path) -> None:
    pages = {path.parent.name.lower() for path in site.rglob("index.html")}
    assert {document.stem.lower() for document in DOCUMENTS} - {"readme", "index"} <= pages
    assert (site / "search" / "search_index.json").stat().st_size > 100_000


def test_no_markup_is_left_in_the_pages_of_the_site(site: Path) -> None:
    """GitHub knows lists and blocks of code that mkdocs does not: without an empty line before, or indented by two."""
    for page in site.rglob("index.html"):
        text = page.read_text()
        prose = re.sub(
            r"<(pre|code)\b.*?</\1>", "", text[text.index("<article") : text.index("</article")], flags=re.DOTALL
        )
        left = re.findall(r"^(?:<p>)?(?:[-*|] |\d+\. |```).{0,60}|.{0,30}(?:\*\*|\]\().{0,30}", prose, re.MULTILINE)
        assert not left, f"{page.parent.name}: {left}"


def test_no_page_of_the_site_asks_another_server_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"?(https?:[^\" >]*)", page.read_text())
        styles = re.findall(
            r"<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*href=\"?(https?:[^\" >]*)", page.read_text()
        )
        assert not loaded + styles, page


def test_the_guide_to_a_new_source_shows_the_source_that_ships() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/new-source.md").read_text(), re.DOTALL)
    code = "".join((ROOT / place).read_text() for place in ("producers/markdown.py", "tests/contract/files.py"))
    assert len(blocks) >= 5
    for block in blocks:
        assert block.strip() in code, block
