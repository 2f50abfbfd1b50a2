"""`run` has the flags of the source that reads its files, and refuses those of others with the right ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.local.by_source import command_by_source
from deploy.local.run_settings import RunSettings, of_source
from deploy.local.stages import producer_plan
from pipeline.cli import new_app
from producers.cirrus import CirrusSettings
from producers.jsonl import JsonlSettings


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with `notes.jsonl` and a dump, where the command is typed."""
    (tmp_path / "notes.jsonl").write_text('{"nr": 1, "body": "Water the soil in the morning."}\n')
    (tmp_path / "testwiki_content-20261115-00000.json.bz2").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Command:
    """The command, with the settings that it ran with."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        app = new_app("")

        @command_by_source(app, RunSettings)
        def run(settings: RunSettings) -> int:
            """Runs."""
            self.ran.append(settings)
            return 0

        self.command: Any = typer.main.get_command(app)

    def __call__(self, *words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            self.command(list(words), prog_name="run")
        return int(ended.value.code or 0)


@pytest.fixture
def run(notes: Path) -> Command:
    return Command()


@pytest.mark.parametrize("words", [("notes.jsonl",), ("--source", "jsonl", "."), ("*.jsonl", "--limit", "3")])
def test_the_flags_of_the_files_source_are_taken(run: Command, words: tuple[str, ...]) -> None:
    assert run(*words, "--id-field", "nr", "--text-fields", "body", "--wiki", "notes", "--embedders", "2") == 0
    (settings,) = run.ran
    assert isinstance(settings, JsonlSettings)
    assert isinstance(settings, RunSettings)
    assert (settings.reads.name, settings.mapping.wiki, settings.mapping.id_field) == ("jsonl", "notes", "nr")
    assert settings.for_stages()["CIRROSTREAM_ID_FIELD"] == "nr"
    assert "CIRROSTREAM_SOURCE" not in settings.for_stages()
    plan = producer_plan(settings, {}, Path())
    assert plan.command[1:3] == ["-m", "producers.jsonl"]


def test_wiki_without_files_is_a_download(run: Command) -> None:
    assert run("--wiki", "simplewiki") == 0
    (settings,) = run.ran
    assert isinstance(settings, CirrusSettings)
    assert settings.downloads


def test_source_and_files_may_come_from_the_environment(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_SOURCES", '["notes.jsonl"]')
    assert run("--id-field", "nr") == 0
    monkeypatch.setenv("CIRROSTREAM_SOURCE", "parquet")
    assert run("--id-field", "nr") == 0
    assert [settings.reads.name for settings in run.ran] == ["jsonl", "parquet"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("notes.jsonl", "--pages-file", "x"), "--pages-file is a flag of the source cirrus, and notes.jsonl is read"),
        (("*.bz2", "--id-field", "nr"), "--id-field is a flag of the source jsonl and of markdown and of parquet"),
        (("notes.jsonl", "--redirects", "skip"), "`--source jsonl --help` shows its flags, --source cirrus"),
        (("notes.jsonl", "testwiki_content-20261115-00000.json.bz2"), "files of several sources"),
        (("--source", "json", "notes.jsonl"), "--source (CIRROSTREAM_SOURCE): one of cirrus, jsonl"),
        (("gone.jsonl",), "no such file or folder"),
    ],
)
def test_a_wrong_choice_is_told_before_anything_starts(
    run: Command, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert told in capsys.readouterr().err
    assert not run.ran


def test_a_flag_of_no_source_is_refused_with_those_that_are_like_it(
    run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("notes.jsonl", "--idfield", "nr") == 2
    assert "--id-field" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "shows", "hides"),
    [
        (("--help",), "--follow", "--id-field"),
        (("--source", "jsonl", "--help"), "--id-field", "--pages-file"),
        (("notes.jsonl", "--help"), "--id-field", "--pages-file"),
        (("--source", "cirrus", "--help"), "--pages-file", "--id-field"),
    ],
)
def test_help_is_of_the_run_alone_or_of_a_source_too(
    run: Command, words: tuple[str, ...], shows: str, hides: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert shows in said
    assert "--follow" in said
    assert hides not in said
    assert not run.ran


def test_settings_of_a_source_decide_as_they_do_for_its_own_command() -> None:
    given: dict[str, Any] = {"wiki": "notes", "id_field": "nr"}
    assert of_source(RunSettings, "jsonl")(**given).options == JsonlSettings(**given).options
