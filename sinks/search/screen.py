"""Answers on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from pipeline.terminal import Console, plain
from sinks.search.answers import Answer, Hit

SNIPPET = 240
"""Characters of a chunk on the screen; --json has all of it."""


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
