"""Answers on a terminal: hits with their passages, the question's words in them, and how the answer came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from rich.table import Table
from rich.text import Text

from pipeline.terminal import Console
from sinks.search.answers import Answer, Hit, LegReport
from sinks.search.highlight import clean, snippet, spans_of, words_of

FOUND = "bold yellow"
"""Style of the question's words."""


def show(answer: Answer, console: Console, words: Sequence[str] | None = None) -> None:
    """Prints the hits, best first, and below them which legs ran, what the answer may lack, and the licences.

    Args:
        words: to highlight; None: the question's.
    """
    if answer.hits:
        console.print(_hits(answer, words_of(answer.question) if words is None else words))
    else:
        console.print(f"nothing found{_within(answer)}")
    for text in (*_about(answer), *map(_dim, credits_of(answer.hits)), *_plans(answer)):
        console.print(text, soft_wrap=True)


def credits_of(hits: Iterable[Hit]) -> list[str]:
    """A line for each source of these texts, with the licence that they are under there."""
    found = dict.fromkeys((hit.source, hit.licence) for hit in hits)
    return [f"Text of {clean(source)}: {clean(licence) or 'licence not known'}" for source, licence in found]


def _hits(answer: Answer, words: Sequence[str]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column(style="cyan")
    table.add_column()
    for hit in answer.hits:
        table.add_row(str(hit.rank), f"{hit.score:.3f}", _entry(hit, words, explained=bool(answer.plan)))
    return table


def _entry(hit: Hit, words: Sequence[str], *, explained: bool) -> Text:
    entry = Text(clean(hit.title), style="bold")
    if hit.url:
        # The link leads to the passage, where the terminal follows links; what is read is the page's address.
        entry.append(f"  {clean(hit.url)}", style=Style(bold=False, color="blue", link=hit.link or None))
    if explained:
        parts = " + ".join(f"{leg} {part:.3f}" for leg, part in hit.legs.items())
        entry.append(f"\n{clean(hit.id)}: {parts}", style="not bold cyan")
    for mark, text in (("", hit.text), *(("· ", passage.text) for passage in hit.passages)):
        entry.append("\n")
        entry.append_text(_passage(mark, text, words))
    return entry


def _passage(mark: str, text: str, words: Sequence[str]) -> Text:
    line = snippet(text, words)
    shown = Text(mark + line, style="not bold dim" if mark else "not bold")
    for start, end in spans_of(line, words):
        shown.stylize(FOUND, start + len(mark), end + len(mark))
    return shown


def _about(answer: Answer) -> Iterable[Text]:
    what = {"page": "page", "chunk": "chunk"}[answer.by] + ("" if len(answer.hits) == 1 else "s")
    ran = ", ".join(f"{leg.name} {_ms(leg.seconds)}" for leg in answer.legs if leg.state == "ran")
    left_out = ", ".join(f"{leg.name} ({leg.why})" for leg in answer.legs if leg.state == "left out")
    line = f"{len(answer.hits)} {what} in {_ms(answer.seconds)}" + (f": {ran}" if ran else "")
    yield _dim(line + (f"; left out: {left_out}" if left_out else ""))
    for leg in answer.legs:
        if leg.state in ("late", "failed"):
            yield Text(_trouble(leg), style="yellow")
    for note in answer.notes:
        yield Text(clean(note), style="yellow")


def _trouble(leg: LegReport) -> str:
    was = "was late" if leg.state == "late" else "failed"
    return clean(f"the {leg.name} leg {was}, this answer is without it: {leg.why}")


def _plans(answer: Answer) -> Iterable[Text]:
    for leg, plan in answer.plan.items():
        yield Text(f"\nLanceDB's plan of the {leg} leg:", style="bold")
        yield Text(plan.rstrip(), style="dim")


def _within(answer: Answer) -> str:
    if answer.wiki and len(answer.filters) <= 1:
        return f" in {answer.wiki}"
    chosen = (f"{name} {_value(value)}" for name, value in answer.filters.items())
    return f" with {clean('; '.join(chosen))}" if answer.filters else ""


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_value(each)}" for key, each in value.items())
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def _dim(line: str) -> Text:
    return Text(line, style="dim")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
