"""The process that parses wikitext. Started by `MarkupParser`, not by hand.

A watchdog in C ends it over a page that takes too long: a signal's handler would wait until the parser returns. So
nothing is left behind either when the producer was killed meanwhile.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from contextlib import suppress

import msgspec

from pipeline.frames import read_frame, write_frame
from producers.wikimedia.prose import LinkNames, read_article

READY = b"ready"

TOO_SLOW = 1
"""The exit code of `faulthandler`."""

FAILED = 70


class Task(msgspec.Struct, frozen=True):
    """What the process is told when it starts."""

    media: tuple[str, ...]
    category: tuple[str, ...]
    seconds: float


class Parsed(msgspec.Struct, frozen=True):
    """What a page keeps of its wikitext; `error` says why nothing."""

    text: str = ""
    opening_text: str = ""
    categories: tuple[str, ...] = ()
    error: str = ""


def parse(wikitext: str, names: LinkNames) -> Parsed:
    """Whatever goes wrong is said of this page, and the next one is parsed."""
    try:
        article = read_article(wikitext, names)
    except Exception as error:  # noqa: BLE001 - the parser's authors could not think of all wikitext either
        return Parsed(error=type(error).__name__)
    return Parsed(article.text, article.opening_text, tuple(article.categories))


def main() -> int:
    """Answers until nobody asks."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    names = LinkNames(task.media, task.category)
    answers = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not garble the answers
    with open(os.devnull, "w") as nowhere, suppress(BrokenPipeError):  # noqa: PTH123
        write_frame(answers, READY)
        while (question := read_frame(0)) is not None:
            faulthandler.dump_traceback_later(task.seconds, exit=True, file=nowhere)
            parsed = parse(question.decode(), names)
            faulthandler.cancel_dump_traceback_later()
            write_frame(answers, msgspec.msgpack.encode(parsed))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - Python's own code for it would be TOO_SLOW's
        sys.exit(FAILED)
