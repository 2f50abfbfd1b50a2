"""Asks the table: `python -m sinks.search "question"`, or without a question a prompt that keeps the model loaded."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import Field
from rich.table import Table
from rich.text import Text

from pipeline import cli
from pipeline.errors import CirrostreamError, Exit, TryAgain, UsageError
from pipeline.model_config import Metric
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings, TableSettings
from pipeline.terminal import Console, plain, say_aside, write_json
from sinks.reader import FILL, Reader, refuse_other_model
from sinks.searcher import MAX_K, Hit, QuestionEncoder, checked_question, nearest, wiki_filter

SNIPPET = 240
"""Characters of a chunk on the screen; --json has all of it."""


class SearchSettings(ModelSettings, TableSettings):
    """Settings of `python -m sinks.search`."""

    question: str | None = Field(
        None, description="What to look for; none: a prompt.", json_schema_extra={cli.ARGUMENT: True}
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Chunks to show.")
    mode: Literal["vector"] = Field("vector", description="How to search: by meaning.")
    wiki: str = Field("", description="Only pages of this wiki, such as enwiki.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto: the first GPU, else the CPU.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What --json prints."""

    question: str
    table: str
    model: str
    mode: str
    wiki: str
    k: int
    seconds: float
    """For question and search; the model's loading is not in it."""
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class Search:
    """A table and the model that its vectors are of, ready to answer."""

    settings: SearchSettings
    reader: Reader
    encoder: QuestionEncoder
    tag: str
    where: str | None
    metric: Metric = "cosine"

    @classmethod
    def open(cls, settings: SearchSettings) -> Search:
        """Checks all that can be wrong before it loads the model, which takes seconds."""
        where = wiki_filter(settings.wiki)
        reader = Reader.open(settings)
        files = resolve(settings, weights=True)
        refuse_other_model(reader.fence(), files.tag, settings.table)
        if not reader.live_rows():
            raise TryAgain(f"table {settings.table} has no rows yet: wait for the pipeline, or {FILL}")
        return cls(settings, reader, QuestionEncoder.load(files, settings.device), files.tag, where, files.metric)

    def answer(self, question: str) -> Answer:
        """Raises UsageError for a question that is none."""
        asked = checked_question(question)
        start = time.perf_counter()
        hits = nearest(self.reader, self.encoder.encode(asked), self.settings.k, self.where, self.metric)
        chosen = self.settings
        return Answer(
            question=asked,
            table=chosen.table,
            model=self.tag,
            mode=chosen.mode,
            wiki=chosen.wiki,
            k=chosen.k,
            seconds=round(time.perf_counter() - start, 4),
            hits=hits,
        )


app = cli.new_app("Finds the chunks that are nearest to a question.")


@cli.command(app, SearchSettings)
def search(settings: SearchSettings) -> int:
    """Finds the chunks that are nearest to a question; without one, asks for questions until Ctrl-D."""
    if settings.question is not None:
        checked_question(settings.question)
    elif settings.json_output:
        raise UsageError('--json needs a question: python -m sinks.search "question" --json')
    ready = Search.open(settings)
    if settings.question is None:
        return converse(ready)
    answer = ready.answer(settings.question)
    if settings.json_output:
        write_json(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        show(answer, Console())
    return Exit.DONE


def converse(ready: Search) -> int:
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
            show(ready.answer(question), console)
        except CirrostreamError as error:
            say_aside(f"error: {error}")


def show(answer: Answer, console: Console) -> None:
    """Prints the hits, best first, each with the beginning of its text."""
    if not answer.hits:
        console.print(f"nothing found{f' in {answer.wiki}' if answer.wiki else ''}")
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column(style="cyan")
    table.add_column()
    for hit in answer.hits:
        entry = Text(clean(hit.title), style="bold")
        if hit.url:
            entry.append(f"  {clean(hit.url)}", style="not bold blue")
        entry.append(f"\n{snippet(hit.text)}", style="not bold")
        table.add_row(str(hit.rank), f"{hit.score:.3f}", entry)
    console.print(table)
    console.print(Text(f"{len(answer.hits)} chunks in {answer.seconds * 1000:.0f} ms", style="dim"))
    for line in credits_of(answer.hits):
        console.print(Text(line, style="dim"))


def credits_of(hits: Iterable[Hit]) -> list[str]:
    """A line for each source of these texts, with the licence that they are under there."""
    found = dict.fromkeys((hit.source, hit.licence) for hit in hits)
    return [f"Text of {source}: {licence or 'licence not known'}" for source, licence in found]


def snippet(text: str) -> str:
    """The beginning of a text on one line, cut between words where there are some."""
    line = clean(text)
    if len(line) <= SNIPPET:
        return line
    head = line[:SNIPPET]
    return (head[: head.rfind(" ")] if " " in head[SNIPPET // 2 :] else head) + "…"


def clean(text: str) -> str:
    """Text from a dump on one line."""
    return " ".join(plain(text).split())


if __name__ == "__main__":
    cli.run(app, "sinks.search")
