"""Puts text on a terminal: what reaches one passes here, for keys, titles, errors and file names are written by others.

Nothing of theirs is markup, moves the cursor, sets a colour or turns the direction of writing; and a terminal that
cannot show a character gets `?`. `print`, `sys.stdout.write` and Rich's own `Console` are forbidden elsewhere
(`pyproject.toml`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import rich.console
import structlog
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

from pipeline.addresses import without_secrets
from pipeline.known_secrets import known

_DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufff9-\ufffb"

_DIRECTION = re.compile(f"[{_DIRECTIONS}]")
_CONTROL = re.compile(f"\r(?=\n)|([{_CONTROLS}])")
_NEITHER = re.compile(f"[^{_DIRECTIONS}{_CONTROLS}]*")
_UNSAFE_IN_JSON = re.compile(f"[{_DIRECTIONS}\x7f-\x9f\u2028\u2029\ud800-\udfff\ufff9-\ufffb]")
_NOT_ASCII = re.compile("[^\x00-\x7e]")


def plain(text: str) -> str:
    """The text without direction marks, and with U+FFFD for every other character that a terminal would obey.

    Lines and tabs stay. Escape sequences lose the character that makes them one, so what is left of them shows.
    """
    if _NEITHER.fullmatch(text):
        return text
    return _CONTROL.sub(lambda found: "\ufffd" if found[1] else "", _DIRECTION.sub("", text))


def plain_line(text: str) -> str:
    """The same on one line: a value that somebody else wrote must not look like several of ours."""
    return plain(text).replace("\n", "\ufffd")


class Console(rich.console.Console):
    """Rich's console, to which no text is markup: a page with the key `[/x]` is a page like any other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Also before text is measured: what is replaced has a width."""
        return super().render_str(plain(text), **{**options, "markup": False, "emoji": False})

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """All that is printed comes through here; the console's own control codes are marked as such."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def report_console() -> Console:
    """Stdout for tables: 120 columns where it is no terminal, for a log has no width."""
    return Console(width=None if sys.stdout.isatty() else 120)


def byte_bars(console: Console) -> Progress:
    """Bars of bytes; each task has a description, and a `note` behind its bytes."""
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=4,
    )


def say(text: str, *, file: TextIO | None = None) -> None:
    """Prints one or more lines of ours, on stdout when no other file is given; with or without the last newline."""
    _print(without_secrets(text), file)


def say_aside(text: str) -> None:
    """Prints one or more lines on stderr: news and errors, beside what was asked for."""
    say(text, file=sys.stderr)


def write_json(document: bytes | str) -> None:
    r"""Prints a JSON document on stdout, the same one on every terminal: what it may not get is an escape `\u…`.

    Addresses stand in it as they are, for a page's may need its query; who makes a document of an address that somebody
    gave us leaves its secrets out. Those that this process was given are in no document.
    """
    text = document if isinstance(document, str) else document.decode()
    carries_all = (sys.stdout.encoding or "utf-8").lower().replace("-", "") in ("utf8", "utf16", "utf32")
    _print(known.hide((_UNSAFE_IN_JSON if carries_all else _NOT_ASCII).sub(_json_escape, text)), sys.stdout)


def _print(text: str, file: TextIO | None) -> None:
    print(plain(text.removesuffix("\n")), file=file, flush=True)


def plain_values(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Makes a log line fit for a terminal, as a processor of structlog before its renderer."""
    return {name: _plain_value(value) for name, value in event.items()}


def show_what_can_be_shown() -> None:
    """Lets every stream of this process write `?` for what it cannot encode, and read U+FFFD for what is no text."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where somebody has put another object in its place
            stream.reconfigure(errors="replace")


def _plain_value(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    return value if isinstance(value, int | float | None) else plain(repr(value))


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
