"""The process that parses wikitext. Started by `MarkupParser`, not by hand.

The kernel ends it over a page that takes too long: no handler of a signal runs before the parser, which is in C,
returns. It counts the processor's time and not the clock's, so that a busy machine loses no page. The process has no
Kafka and no secret to lose, and ends with its parent at the latest.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import msgspec

from pipeline.child_limits import bound_memory, die_first, end_with_parent
from pipeline.frames import read_frame, write_frame
from producers.wikimedia.links import LinkNames
from producers.wikimedia.one_line import well_formed
from producers.wikimedia.prose import read_article

READY = b"ready"

TOO_SLOW = signal.SIGPROF
"""Ends the process when a page's time is over."""

BASE_SECONDS = 2.0
SECONDS_A_CHARACTER = 20e-6
"""Twice what a million characters of the shortest list items take; articles take 1/20 of it."""


class Task(msgspec.Struct, frozen=True):
    """The wiki and the limits of one page, for the process when it starts."""

    names: LinkNames
    seconds: float
    memory: int
    """Bytes."""


class Parsed(msgspec.Struct, frozen=True):
    """A page's part that comes from its wikitext, in NFC; with an `error`, the name of an exception, none of it."""

    text: str = ""
    opening_text: str = ""
    categories: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Kinds of markup that are left in the text, of `one_line.LEFT`."""
    error: str = ""


def seconds_for(characters: int, most: float) -> float:
    """The processor's time that wikitext of this length may take."""
    return min(most, BASE_SECONDS + SECONDS_A_CHARACTER * characters)


def parse(wikitext: str, names: LinkNames) -> Parsed:
    """Any error is this page's own, and the next one is parsed."""
    try:
        article = read_article(wikitext, names)
        return Parsed(
            text=well_formed(article.text),
            opening_text=well_formed(article.opening_text),
            categories=tuple(map(well_formed, article.categories)),
            headings=tuple(map(well_formed, article.headings)),
            left=article.left,
        )
    except Exception as error:  # noqa: BLE001 - the parser's authors could not think of all wikitext either
        return Parsed(error=type(error).__name__)


def main() -> None:
    """Answers until nobody asks."""
    end_with_parent()
    die_first()
    signal.signal(TOO_SLOW, signal.SIG_DFL)
    task = msgspec.json.decode(sys.argv[1], type=Task)
    answers = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not garble the answers
    parse("''One'' [[page]].", task.names)
    bound_memory(task.memory)
    with suppress(BrokenPipeError):
        write_frame(answers, READY)
        while (question := read_frame(0)) is not None:
            wikitext = question.decode()
            signal.setitimer(signal.ITIMER_PROF, seconds_for(len(wikitext), task.seconds))
            parsed = parse(wikitext, task.names)
            signal.setitimer(signal.ITIMER_PROF, 0)
            write_frame(answers, msgspec.msgpack.encode(parsed))


if __name__ == "__main__":
    main()
