"""Text from outside is text on a terminal: no markup, no command to it, and no character that ends a program."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from deploy.doctor import printing
from deploy.doctor.findings import Result, fail
from pipeline.dead_letters import __main__ as dead_letters
from pipeline.errors import CheckFailed
from pipeline.settings import Settings
from pipeline.terminal import Console, byte_bars, plain, say, write_json
from sinks.search import Answer
from sinks.search.answers import Hit
from sinks.search.screen import show as show_answer
from sinks.verify.report import Check, VerifyReport
from sinks.verify.report import show as show_report

NASTY = "[/x][bold]a\x1b[2Jb\x9b31mc\u202ed\u200fe\x07f\rg:smile:\u2066h\u2028i"
"""Markup that opens nothing, escape sequences of both kinds, a bell, a return, and marks that turn the direction."""
FORBIDDEN = "\x1b\x9b\x07\r\u202e\u200f\u2066\u2028"


def assert_harmless(shown: str) -> None:
    assert [character for character in FORBIDDEN if character in shown] == []
    assert "[/x][bold]a" in shown
    assert ":smile:" in shown


def printed(show_it: Callable[[Console], object], **options: object) -> str:
    screen = io.StringIO()
    show_it(Console(file=screen, width=200, **options))
    return screen.getvalue()


def test_what_a_terminal_would_obey_is_replaced_and_everything_else_stays() -> None:
    assert plain("Äé云😀\u200d\t\n[red]") == "Äé云😀\u200d\t\n[red]"
    assert plain("a\r\nb\u200fc\x1b]0;title\x07") == "a\nbc\ufffd]0;title\ufffd"
    assert plain("\udcff") == "\ufffd"


def test_a_console_takes_nothing_for_markup_wherever_it_stands() -> None:
    table = Table(NASTY, title=NASTY, caption=NASTY)
    table.add_row(NASTY)
    table.add_row(Text(NASTY))
    for thing in (NASTY, Text(NASTY), table):
        assert_harmless(printed(lambda console, thing=thing: console.print(thing)))


def test_bars_and_spinners_take_nothing_for_markup_and_still_move_the_cursor() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=200, force_terminal=True)
    with byte_bars(console) as bars:
        bars.add_task(NASTY, total=10, note=NASTY)
        bars.refresh()
    assert "[/x][bold]a\ufffd[2Jb\ufffd31mcde" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
    assert "\x1b[" in screen.getvalue(), "its own sequences stay"


@pytest.mark.parametrize("arguments", [["list"], ["show", "0@0"], ["list", "--json"]])
def test_dead_letters_are_printed_whatever_is_in_them(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    headers = [(name, NASTY.encode()) for name in ("stage", "reason", "error")]
    letter = SimpleNamespace(partition=0, offset=0, key=NASTY.encode(), value=b"\x1b", headers=headers, timestamp=0)
    monkeypatch.setattr(dead_letters, "_letters", lambda _: iter([letter]))
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(dead_letters.app, arguments)
    assert done.exit_code == 0, done.output
    assert_harmless(done.output)


def test_a_header_cannot_look_like_two(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = [("reason", b"x\nstage: forged"), ("a\nstage", b"forged")]
    letter = SimpleNamespace(partition=0, offset=0, key=b"k", value=b"", headers=headers, timestamp=0)
    monkeypatch.setattr(dead_letters, "_letters", lambda _: iter([letter]))
    shown = CliRunner().invoke(dead_letters.app, ["show", "0@0"]).output
    assert not [line for line in shown.splitlines() if line.startswith("stage: ")]


def test_a_proof_a_search_and_the_doctor_print_keys_and_titles_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    check = Check(name="pages", verdict="failed", figures=NASTY, problems=1, examples=(NASTY,))
    report = VerifyReport(ok=False, table=NASTY, model="m", pages=1, rows=1, seconds=0.1, checks=(check,))
    assert_harmless(printed(lambda console: show_report(report, console)))
    hit = Hit(
        rank=1, score=0.5, id="w:1#0", page="w:1", wiki="w", title=NASTY, url=NASTY, text=NASTY,
        n=0, n_chunks=1, start=0, end=3, revision=None, timestamp="",
    )  # fmt: skip
    answer = Answer(question="q", table="t", model="m", mode="vector", wiki="", k=1, seconds=0.1, hits=[hit])
    assert_harmless(printed(lambda console: show_answer(answer, console)))
    nothing = Answer(question="q", table="t", model="m", mode="vector", wiki=NASTY, k=1, seconds=0.1, hits=[])
    assert_harmless(printed(lambda console: show_answer(nothing, console)))
    say(printing.lines(Result("kafka.x", fail(NASTY, NASTY), 0.0)))
    assert_harmless(capsys.readouterr().out)


def test_an_error_line_is_harmless() -> None:
    from pipeline.cli import command, new_app

    app = new_app("An example.")

    @command(app, Settings)
    def example(_: Settings) -> int:
        """Fails."""
        raise CheckFailed(NASTY)

    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1
    assert_harmless(done.output)


def test_json_is_the_same_document_whatever_the_terminal_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"title": NASTY + "Äé云😀\x7f"}
    for encoding in ("utf-8", "ascii", "latin-1"):
        screen = io.BytesIO()
        with monkeypatch.context() as patched:
            out = io.TextIOWrapper(screen, encoding=encoding, write_through=True)
            patched.setattr(sys, "stdout", out)
            write_json(json.dumps(document, ensure_ascii=False).encode())
        written = screen.getvalue().decode(encoding)
        assert json.loads(written) == document
        assert not any(character in written for character in FORBIDDEN + "\x7f")
        assert written.count("\n") == 1
    assert "云" not in written


def test_a_pages_address_in_json_keeps_its_query(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"url": "https://wiki.example/w/index.php?curid=12&title=A", "hits": 1}
    write_json(json.dumps(document))
    assert json.loads(capsys.readouterr().out) == document


LOGGING = """
import logging, sys
from pipeline import logs
logs.configure()
import structlog
nasty = sys.argv[1].encode("ascii").decode("unicode_escape")
structlog.get_logger().warning(nasty, key=nasty, keys=[nasty], path=nasty.split("b")[0])
logging.getLogger("kafka").warning("said %s", nasty)
try:
    raise ValueError(nasty)
except ValueError:
    structlog.get_logger().error("failed", exc_info=True)
    logging.getLogger("kafka").exception("failed")
"""


def test_log_lines_on_a_terminal_are_harmless() -> None:
    """Only colours are left of the escape sequences, and they are the logger's own."""
    reader, writer = pty.openpty()
    argument = NASTY.encode("unicode_escape").decode("ascii")
    process = subprocess.Popen([sys.executable, "-c", LOGGING, argument], stderr=writer, env=dict(os.environ))
    os.close(writer)
    shown = b""
    try:
        while more := os.read(reader, 65_536):
            shown += more
    except OSError:
        pass  # a terminal's way to say that nobody writes any more
    os.close(reader)
    assert process.wait(60) == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))
    assert_harmless(said)
    assert "\x1b[2J" not in shown.decode()
    assert said.count("\ufffd[2Jb") >= 5


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["producers.cirrus", "--help"], 0),
        (["producers.cirrus", "gone-\udcff-云\x1b[31m.json"], 2),
        (["sinks.search", "云\udcff", "--table", "no-table"], 2),
        (["deploy.doctor", "--only", "packages.installed"], 0),
    ],
)
def test_a_terminal_that_cannot_show_a_character_ends_no_command(
    environment: dict[str, str], arguments: list[str], code: int, tmp_path: Path
) -> None:
    folder = tmp_path / "data-云"
    done = subprocess.run(
        [sys.executable, "-m", *(os.fsencode(argument) for argument in arguments)],
        env={**os.environ, "CIRROSTREAM_DATA_DIR": str(folder), **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, said
    assert "unexpected" not in said
    assert "Traceback" not in said
    assert "\x1b[31m" not in said
