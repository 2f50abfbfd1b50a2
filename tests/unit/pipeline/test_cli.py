"""Flags and environment variables are one thing, and no error reaches the user as a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    KafkaTimeoutError,
    UnsupportedSaslMechanismError,
)
from pydantic import Field
from typer import Typer
from typer.testing import CliRunner

from pipeline import logs
from pipeline.cli import ARGUMENT, FLAG, command, new_app
from pipeline.errors import CheckFailed, Exit, Fatal, Replaced, TryAgain
from pipeline.settings import KafkaSettings, ModelSettings
from tests.panics import panic

Run = Callable[..., tuple[int, str]]


class Example(ModelSettings):
    """Settings of a command that only the tests have."""

    sources: list[str] = Field([], description="What to read.", json_schema_extra={ARGUMENT: True})
    json_output: bool = Field(False, description="JSON.", json_schema_extra={FLAG: "--json"})


def app(act: Callable[[Example], int]) -> Typer:
    made = new_app("An example.")

    @command(made, Example)
    def example(settings: Example) -> int:
        """Does what the test says."""
        return act(settings)

    return made


def run(act: Callable[[Example], int], *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app(act), list(arguments))
    return result.exit_code, result.output


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_PARTITIONS", "7")
    monkeypatch.setenv("CIRROSTREAM_UNIT", "lead")
    seen: list[Example] = []
    assert run(lambda s: seen.append(s) or 0, "a", "b", "--partitions", "9", "--json") == (0, "")
    assert (seen[0].partitions, seen[0].unit, seen[0].sources, seen[0].json_output) == (9, "lead", ["a", "b"], True)


def test_a_wrong_flag_is_refused_in_one_line_with_both_names() -> None:
    code, said = run(lambda _: 0, "--partitions", "many")
    assert code == 2
    assert said.startswith("error: --partitions (CIRROSTREAM_PARTITIONS): ")
    assert said.count("\n") == 1


def test_a_wrong_environment_variable_is_refused_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_UNIT", "book")
    code, said = run(lambda _: 0)
    assert code == 2
    assert "--unit (CIRROSTREAM_UNIT)" in said
    assert "'window', 'lead' or 'page'" in said


def test_help_names_the_environment_variable_of_every_flag() -> None:
    code, said = run(lambda _: 0, "--help")
    assert code == 0
    for name in Example.model_fields:
        if name != "sources":
            assert f"CIRROSTREAM_{name.upper()}" in "".join(said.split()).replace("│", ""), name


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailed("x"), 1),
        (Replaced("x"), 3),
        (Fatal("x"), 70),
        (TryAgain("x"), 75),
        (KeyError("x"), 70),
        (MemoryError(), 75),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(error: Exception, code: int) -> None:
    def act(_: Example) -> int:
        raise error

    found, said = run(act)
    assert found == code
    assert said.startswith("error: ")
    assert "Traceback" not in said


def test_a_password_is_no_flag_and_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    assert "hunter2" not in repr(KafkaSettings())
    made = new_app("An example.")
    command(made, KafkaSettings, "kafka")(lambda _: 0)
    said = CliRunner().invoke(made, ["--help"]).output
    assert "--sasl-username" in said
    assert "password" not in said


def test_a_panic_that_nobody_has_caught_is_one_line_and_no_bug_of_ours() -> None:
    found, said = run(panic)
    assert found == Exit.FATAL
    assert said.startswith(
        "error: a library written in Rust has panicked (PanicException: called `Option::unwrap()` on a `None` value)"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize("level", ["debug", " Info ", "WARNING", ""])
def test_a_log_level_means_the_same_in_any_case(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_LOG_LEVEL", level)
    before = logging.getLogger().level
    try:
        logs.configure()
        assert logging.getLogger().level == getattr(logging, level.strip().upper() or "WARNING")
    finally:
        logging.getLogger().setLevel(before)


def test_what_kafka_python_says_of_every_look_at_a_group_of_fausts_is_no_news(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It cannot read what their members say of themselves, and nobody wants to know it every second."""
    level, handlers = logging.getLogger().level, logging.getLogger().handlers[:]
    try:
        logs.configure()
        logging.getLogger("kafka.admin._groups").warning("Unable to decode member_metadata for DescribedGroup(…)/m-1")
        logging.getLogger("kafka.admin._groups").warning("something else")
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    assert "something else" in said
    assert "member_metadata" not in said


def test_a_word_that_is_no_log_level_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_LOG_LEVEL", "verbose")
    code, output = run(lambda _: 0)
    assert code == 2
    assert "CIRROSTREAM_LOG_LEVEL: one of DEBUG, INFO, WARNING, ERROR, CRITICAL, got 'VERBOSE'" in output


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KafkaTimeoutError("no answer"), 75, "Kafka: KafkaTimeoutError: no answer"),
        (GroupAuthorizationFailedError("lance.a"), 70, "not allowed to this user"),
        (UnsupportedSaslMechanismError(), 2, "KAFKA_SASL_MECHANISM"),
        (FencedInstanceIdError(), 3, "another process"),
    ],
)
def test_an_error_of_kafka_that_nobody_has_caught_is_told_in_words(error: Exception, code: int, words: str) -> None:
    def act(_: Example) -> int:
        raise error

    found, output = run(act)
    assert (found, words in output, "bug" in output) == (code, True, False), output
