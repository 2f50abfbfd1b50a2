"""Asks the table: `python -m sinks.search "question"`, or without a question a prompt that keeps the model loaded."""

from __future__ import annotations

import sys

import msgspec
from pydantic import Field

from pipeline import cli
from pipeline.errors import CirrostreamError, Exit, UsageError
from pipeline.terminal import Console, say_aside, write_json
from sinks.search import Answer, By, Filters, Mode, Search, SearchOptions
from sinks.search.question import MAX_K, checked_question
from sinks.search.screen import show


class SearchSettings(SearchOptions):
    """Settings of `python -m sinks.search`."""

    question: str | None = Field(
        None, description="What to look for; none: a prompt.", json_schema_extra={cli.ARGUMENT: True}
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Pages, or chunks, to show.")
    mode: Mode = Field("hybrid", description="How to search: by meaning and words, by meaning, by words.")
    by: By = Field("page", description="Each page once with its best passages, or each chunk.")
    wiki: str = Field("", description="Only pages of this wiki, such as enwiki.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


app = cli.new_app("Finds the pages that answer a question.")


@cli.command(app, SearchSettings)
def search(settings: SearchSettings) -> int:
    """Finds the pages that answer a question; without one, asks for questions until Ctrl-D."""
    if settings.question is not None:
        checked_question(settings.question)
    elif settings.json_output:
        raise UsageError('--json needs a question: python -m sinks.search "question" --json')
    _filters(settings).condition()
    with Search.open(settings, meaning=settings.mode != "text") as ready:
        if settings.question is None:
            return converse(ready, settings)
        answer = ask(ready, settings.question, settings)
    if settings.json_output:
        write_json(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        show(answer, Console())
    return Exit.DONE


def ask(ready: Search, question: str, settings: SearchSettings) -> Answer:
    """The answer that these settings ask for."""
    return ready.answer(question, k=settings.k, mode=settings.mode, filters=_filters(settings), by=settings.by)


def converse(ready: Search, settings: SearchSettings) -> int:
    """Reads questions from the terminal, or from a pipe, until they end."""
    console = Console()
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            question = input(prompt)
        except EOFError:
            if prompt:
                console.print()
            return Exit.DONE
        if not question.strip():
            continue
        try:
            show(ask(ready, question, settings), console)
        except CirrostreamError as error:
            say_aside(f"error: {error}")


def _filters(settings: SearchSettings) -> Filters:
    return Filters(wiki=(settings.wiki,) if settings.wiki else ())


if __name__ == "__main__":
    cli.run(app, "sinks.search")
