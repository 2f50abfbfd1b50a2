"""Parses wikitext in a process of its own: nothing else can end a parser that is written in C.

Most articles take some milliseconds. Text made for it takes minutes for 50 kB, and would take hours for a megabyte. The
process ends itself then (`parser_child`), and the page is counted. While it works, whoever waits is asked whether to
go on.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from pipeline.child_environment import child_environment
from pipeline.errors import Fatal
from pipeline.frames import read_frame, write_frame
from pipeline.rejected import Rejected
from producers.wikimedia.parser_child import READY, TOO_SLOW, Parsed, Task
from producers.wikimedia.prose import LinkNames

PARSE_SECONDS = 30.0
"""2 MB of ordinary wikitext, the wikis' limit, take 3 s."""

TICK_SECONDS = 0.5
END_SECONDS = 1.0

Tick = Callable[[], None]


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    questions: int
    answers: int
    """The pipes, as descriptors."""


class MarkupParser:
    """Starts the process when it is first needed, and another one when it died over a page."""

    def __init__(self, names: LinkNames, seconds: float = PARSE_SECONDS) -> None:
        self._task = msgspec.json.encode(Task(names.media, names.category, seconds)).decode()
        self._child: _Child | None = None

    def __enter__(self) -> MarkupParser:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def parse(self, wikitext: str, tick: Tick) -> Parsed | Rejected:
        """What a page keeps of its wikitext; calls `tick`, which may raise, while it waits."""
        question = wikitext.encode("utf-8", "replace")
        for _ in range(2):  # a process that somebody else killed says nothing of the page
            answer = self._ask(question, tick)
            if answer is not None:
                parsed = msgspec.msgpack.decode(answer, type=Parsed)
                return Rejected("bad_wikitext", damaged=True) if parsed.error else parsed
            if self._end() == TOO_SLOW:
                return Rejected("slow_wikitext", damaged=True)
        return Rejected("bad_wikitext", damaged=True)

    def _ask(self, question: bytes, tick: Tick) -> bytes | None:
        """The answer, None when the process is gone."""
        child = self._child or self._start(tick)
        try:
            write_frame(child.questions, question)
        except BrokenPipeError:
            return None
        return read_frame(child.answers, _waiting(tick))

    def _start(self, tick: Tick) -> _Child:
        questions, to_ask = os.pipe()
        to_hear, answers = os.pipe()
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "producers.wikimedia.parser_child", self._task],
            stdin=questions,
            stdout=answers,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
        )
        os.close(questions)
        os.close(answers)
        self._child = _Child(process, to_ask, to_hear)
        if read_frame(to_hear, _waiting(tick)) != READY:
            raise Fatal("the process that parses wikitext does not start: pip install 'mwparserfromhell>=0.7'")
        return self._child

    def _end(self) -> int | None:
        """Its exit code: its own, if it has ended or does so now that nobody asks."""
        child, self._child = self._child, None
        if child is None:
            return None
        os.close(child.questions)
        os.close(child.answers)
        try:
            return child.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            return child.process.wait()


def _waiting(tick: Tick) -> Callable[[int], None]:
    def wait(descriptor: int) -> None:
        while not select.select([descriptor], [], [], TICK_SECONDS)[0]:
            tick()

    return wait
