"""The prompt: questions one after the other to a model that stays loaded, and commands that begin with a colon."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import get_args

from pipeline.errors import CirrostreamError, Exit, UsageError
from pipeline.terminal import Console, say, say_aside
from sinks.search.answers import Answer, By, Mode
from sinks.search.command_settings import SearchSettings
from sinks.search.question import checked_k
from sinks.search.screen import show
from sinks.search.search import Search

HELP = """A line is a question, unless it begins with a colon:
  :mode hybrid    by meaning, words and names; vector: by meaning; text: by words and names
  :by page        each page once with its best passages; chunk: each chunk
  :k 10           pages or chunks to show
  :like 3         more like the third hit of the last answer; or a chunk's id, as --explain shows it
  :explain        with each hit's score by leg and LanceDB's plans; once more: without
  :quit           ends, as Ctrl-D does"""


def converse(ready: Search, settings: SearchSettings) -> int:
    """Reads questions and commands from the terminal, or from a pipe, until they end."""
    console = Console()
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        say_aside(":help tells what else can be typed than questions")
    talk = _Talk(ready, settings, console)
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            if prompt:
                console.print()
            return Exit.DONE
        if line == ":quit":
            return Exit.DONE
        if not line:
            continue
        try:
            talk.take(line)
        except CirrostreamError as error:
            say_aside(f"error: {error}")


def ask(ready: Search, question: str, settings: SearchSettings) -> Answer:
    """The answer that these settings ask for."""
    return ready.answer(
        question,
        k=settings.k,
        mode=settings.mode,
        filters=settings.filters(),
        by=settings.by,
        deadline_ms=settings.deadline_ms,
        explain=settings.explain,
    )


def ask_like(ready: Search, chunk: str, settings: SearchSettings) -> Answer:
    """More like a chunk, as these settings ask for it."""
    return ready.similar(chunk, k=settings.k, filters=settings.filters(), by=settings.by)


@dataclass(slots=True)
class _Talk:
    """The state of one prompt: how to search, which its commands change, and the last answer."""

    ready: Search
    settings: SearchSettings
    console: Console
    last: Answer | None = None

    def take(self, line: str) -> None:
        """Answers a question, or does what a command says."""
        name, _, rest = line[1:].partition(" ")
        value = rest.strip()
        if not line.startswith(":"):
            self._show(ask(self.ready, line, self.settings))
        elif name == "help":
            say(HELP)
        elif name == "like":
            self._show(ask_like(self.ready, self._chunk(value), self.settings), ())
        elif name == "mode":
            self._set(mode=_one_of(name, value, get_args(Mode)))
        elif name == "by":
            self._set(by=_one_of(name, value, get_args(By)))
        elif name == "k":
            self._set(k=checked_k(_number(name, value)))
        elif name == "explain":
            self._set(explain=not self.settings.explain)
        else:
            raise UsageError(f"there is no command :{name[:20]}; :help shows those that there are")

    def _set(self, **changed: object) -> None:
        self.settings = self.settings.model_copy(update=changed)

    def _show(self, answer: Answer, words: tuple[str, ...] | None = None) -> None:
        self.last = answer
        show(answer, self.console, words)

    def _chunk(self, value: str) -> str:
        if not value.isdecimal():
            return value
        rank = _number("like", value)
        hits = self.last.hits if self.last else []
        if not 1 <= rank <= len(hits):
            raise UsageError(f":like {rank}: the last answer has {len(hits)} hits")
        return hits[rank - 1].id


def _one_of(name: str, value: str, there: tuple[str, ...]) -> str:
    if value not in there:
        raise UsageError(f":{name} {value[:20]}: give one of {', '.join(there)}")
    return value


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise UsageError(f":{name} {value[:20]}: give a number")
    return int(value)
