"""The quality of searches, for people: a table for the terminal, lines for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from sinks.measured import Quality

HEAD = ("mode", "questions", "nDCG@10", "recall@10", "asked")


def quality_rows(quality: Mapping[str, Quality]) -> Iterator[tuple[str, str, str, str, str]]:
    """Mode, kind of question, nDCG@10, recall@10 and number of questions, a mode's total before its kinds."""
    for name, found in quality.items():
        mode, _, kind = name.partition("/")
        yield mode, kind or "all", f"{found.ndcg:.3f}", f"{found.recall:.3f}", str(found.questions)


def quality_table(quality: Mapping[str, Quality]) -> Table:
    """For the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in HEAD:
        table.add_column(name, justify="left" if name in HEAD[:2] else "right")
    for row in quality_rows(quality):
        table.add_row(*map(Text, row), style="bold" if row[1] == "all" else None)
    return table


def quality_markdown(quality: Mapping[str, Quality]) -> list[str]:
    """Lines of a Markdown table; none when nothing was measured."""
    if not quality:
        return []
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---:|---:|---:|"]
    return lines + [f"| {' | '.join(row)} |" for row in quality_rows(quality)]
