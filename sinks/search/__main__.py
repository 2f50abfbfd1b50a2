"""Asks the table: `python -m sinks.search "question"`, or without a question a prompt that keeps the model loaded."""

from __future__ import annotations

import msgspec

from pipeline import cli
from pipeline.errors import Exit, UsageError
from pipeline.terminal import Console, write_json
from sinks.reader import Reader
from sinks.search import Search
from sinks.search.command_settings import SearchSettings
from sinks.search.description import describe, show_description
from sinks.search.prompt import ask, ask_like, converse
from sinks.search.question import checked_question
from sinks.search.screen import show

app = cli.new_app("Finds the pages that answer a question.")


@cli.command(app, SearchSettings)
def search(settings: SearchSettings) -> int:
    """Finds the pages that answer a question; without one, asks for questions until Ctrl-D."""
    _refuse_contradictions(settings)
    if settings.about:
        return tell(settings)
    settings.filters()  # what is wrong with them is said before the model is loaded
    with Search.open(settings, meaning=settings.needs_model) as ready:
        if settings.similar:
            answer = ask_like(ready, settings.similar, settings)
        elif settings.question is None:
            return converse(ready, settings)
        else:
            answer = ask(ready, settings.question, settings)
    if settings.json_output:
        write_json(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        show(answer, Console(), () if settings.similar else None)
    return Exit.DONE


def tell(settings: SearchSettings) -> int:
    """Describes the table, for which no model is needed."""
    found = describe(Reader.open(settings))
    if settings.json_output:
        write_json(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        show_description(found, Console())
    return Exit.DONE


def _refuse_contradictions(settings: SearchSettings) -> None:
    if settings.about and (settings.similar or settings.question is not None):
        raise UsageError("--about describes the table: give it without a question")
    if settings.similar and settings.question is not None:
        raise UsageError("--similar looks for chunks like one of the table's: give it or a question, not both")
    if settings.question is not None:
        checked_question(settings.question)
    elif settings.json_output and not settings.similar and not settings.about:
        raise UsageError('--json needs a question: python -m sinks.search "question" --json')


if __name__ == "__main__":
    cli.run(app, "sinks.search")
