"""Parses wikitext in processes of their own, each page within bounds of time and memory.

Most articles take some milliseconds. Text made for it takes minutes for 50 kB, and would take hours for a megabyte;
nothing but the end of a process stops a parser that is written in C. The page is rejected then, and another process
parses the next one. Whoever waits is asked meanwhile whether to go on.
"""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

import msgspec

from pipeline.child_environment import child_environment
from pipeline.errors import Fatal, TryAgain, one_line
from pipeline.frames import frame, read_frame
from pipeline.rejected import Rejected
from producers.wikimedia.links import ENGLISH, LinkNames
from producers.wikimedia.parser_child import READY, TOO_SLOW, Parsed, Task, seconds_for

MAX_WIKITEXT = 4_000_000
"""Characters; twice the wikis' own limit."""

PARSE_SECONDS = 30.0
"""Of the processor, at most: 2 MB of ordinary wikitext, the wikis' limit, take 3 s."""
PARSE_BYTES = 1024 * 1024 * 1024
"""4 MB of tables, the most costly markup by its length, take 1.5 GB; 2 MB of anything less than this."""
CLOCK_FACTOR, START_SECONDS = 20.0, 60.0
"""A process that the machine gives less of its processor to than one part in so many does not work."""

TICK_SECONDS = 0.5
END_SECONDS = 1.0
AHEAD = 2
"""Pages that wait for each process, so that none waits for a page."""

_SHORT_OF_MEMORY = frozenset({MemoryError.__name__, SystemError.__name__})
"""The parser's part in C may say the second one for the first."""

Tick = Callable[[], None]
T = TypeVar("T")


class _Closed(Exception):
    """The parser was closed meanwhile: nobody wants the answer."""


class MarkupParser:
    """Parses the wikitext of one wiki with `workers` processes, each started when it is first needed.

    Calls may come from any thread. To be closed when no call is in progress, as by `with`.
    """

    def __init__(
        self,
        names: LinkNames = ENGLISH,
        *,
        workers: int = 1,
        seconds: float = PARSE_SECONDS,
        memory: int = PARSE_BYTES,
    ) -> None:
        self._ahead = AHEAD * workers
        self._closed = threading.Event()
        task = Task(names, seconds, memory)
        self._children = [_Child(task, self._closed) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="wikitext")

    def __enter__(self) -> MarkupParser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes, also one that is at work."""
        self._closed.set()
        for child in self._children:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.end()

    def parse(self, wikitext: str, tick: Tick) -> Parsed | Rejected:
        """The page's part that its wikitext gives, or why there is none; calls `tick`, which may raise, meanwhile."""
        return _wait(self._threads.submit(self._parse, wikitext), tick)

    def parse_all(self, pages: Iterable[tuple[T, str | Rejected]], tick: Tick) -> Iterator[tuple[T, Parsed | Rejected]]:
        """Each page with what `parse` says of its wikitext, or as it was rejected before, in the order given.

        Pages are taken a few ahead of those given out.
        """
        waiting: deque[tuple[T, Future[Parsed | Rejected] | Rejected]] = deque()
        for page, wikitext in pages:
            if not isinstance(wikitext, Rejected):
                waiting.append((page, self._threads.submit(self._parse, wikitext)))
            else:
                waiting.append((page, wikitext))
            if len(waiting) > self._ahead:
                yield _taken(waiting, tick)
        while waiting:
            yield _taken(waiting, tick)

    def _parse(self, wikitext: str) -> Parsed | Rejected:
        if len(wikitext) > MAX_WIKITEXT:
            return Rejected("too_large_wikitext", f"{len(wikitext):,} characters")
        child = self._idle.get()
        try:
            return child.parse(wikitext)
        finally:
            self._idle.put(child)


def _taken(waiting: deque[tuple[T, Future[Parsed | Rejected] | Rejected]], tick: Tick) -> tuple[T, Parsed | Rejected]:
    page, answer = waiting.popleft()
    return page, answer if isinstance(answer, Rejected) else _wait(answer, tick)


def _wait(answer: Future[Parsed | Rejected], tick: Tick) -> Parsed | Rejected:
    while not wait([answer], TICK_SECONDS).done:
        tick()
    return answer.result()


class _Child:
    """One process at a time, another one when it has died over a page."""

    def __init__(self, task: Task, closed: threading.Event) -> None:
        self._task = task
        self._closed = closed
        self._process: subprocess.Popen[bytes] | None = None
        self._questions = self._answers = -1
        """The process's pipes, as descriptors."""

    def parse(self, wikitext: str) -> Parsed | Rejected:
        question = wikitext.encode("utf-8", "replace")
        allowed = seconds_for(len(wikitext), self._task.seconds)
        status: int | None = None
        for _ in range(2):  # a process that somebody else killed says nothing of the page
            answer = self._ask(question, allowed * CLOCK_FACTOR)
            if answer is not None:
                return self._read(msgspec.msgpack.decode(answer, type=Parsed))
            status = self.end()
            if status == -TOO_SLOW:
                detail = f"not parsed in {allowed:.1f} s of the processor ({len(wikitext):,} characters)"
                return Rejected("slow_wikitext", detail, damaged=True)
        return Rejected("bad_wikitext", f"the parser's process ended with {status}", damaged=True)

    def kill(self) -> None:
        """Called from another thread than the one that waits for an answer, which then gets none."""
        if (process := self._process) is not None:
            process.kill()

    def end(self) -> int | None:
        """The child's exit status: its own, if it has ended or does so now that nobody asks."""
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
        try:
            return process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _read(self, parsed: Parsed) -> Parsed | Rejected:
        if not parsed.error:
            return parsed
        if parsed.error in _SHORT_OF_MEMORY:
            self.end()  # what it could not give back is missing for the next page
        if parsed.error == MemoryError.__name__:
            most = self._task.memory // (1024 * 1024)
            return Rejected("out_of_memory_wikitext", f"parsing it takes more than {most:,} MiB", damaged=True)
        return Rejected("bad_wikitext", f"the parser raised {parsed.error}", damaged=True)

    def _ask(self, question: bytes, seconds: float) -> bytes | None:
        """The answer, None when the process is gone, or gave none by then."""
        if self._process is None:
            self._start()
        until = time.monotonic() + seconds
        with suppress(BrokenPipeError, TimeoutError):
            rest = memoryview(frame(question))
            while rest:
                self._wait_for((), (self._questions,), until)
                rest = rest[os.write(self._questions, rest) :]
            return self._read_frame(until)
        return None

    def _start(self) -> None:
        """Starts it.

        Raises:
            TryAgain: the machine has no room for a process, or no time, or somebody killed it. That says nothing of the
                page.
            Fatal: it ends by itself.
        """
        try:
            self._open()
            said = self._read_frame(time.monotonic() + START_SECONDS)
        except OSError as error:
            self.end()
            why = one_line(error)
            raise TryAgain(f"the process that parses wikitext cannot be started here and now: {why}") from error
        if said != READY:
            if (status := self.end()) is not None and status < 0:
                raise TryAgain(f"the process that parses wikitext was ended by signal {-status} when it started")
            raise Fatal("the process that parses wikitext does not start: pip install 'mwparserfromhell>=0.7'")

    def _open(self) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "producers.wikimedia.parser_child", msgspec.json.encode(self._task).decode()],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the one who asks; it may come before the process passes it over
            env=child_environment(),
        )
        self._process = process
        assert process.stdin is not None  # noqa: S101 - for mypy
        assert process.stdout is not None  # noqa: S101 - for mypy
        self._questions, self._answers = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._questions, False)

    def _read_frame(self, until: float) -> bytes | None:
        return read_frame(self._answers, lambda answers: self._wait_for((answers,), (), until))

    def _wait_for(self, reading: tuple[int, ...], writing: tuple[int, ...], until: float) -> None:
        """Raises TimeoutError, or _Closed."""
        while not self._closed.is_set():
            if any(select.select(reading, writing, (), TICK_SECONDS)):
                return
            if time.monotonic() > until:
                raise TimeoutError("it said nothing for too long")
        raise _Closed
