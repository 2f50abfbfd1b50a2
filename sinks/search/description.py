"""A table described by itself, for `--about`: its note on how it was made, what is in it, its indexes, how well it
is searched. No model is needed for it, and none is loaded."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from rich.table import Table
from rich.text import Text

from pipeline.model_card import languages_warning
from pipeline.terminal import Console, plain_line
from sinks.about import About, Contents
from sinks.contents import SAMPLE_ROWS, sample
from sinks.fence import Fence
from sinks.indexes import VECTOR
from sinks.measured import Measured
from sinks.notebook import why_not
from sinks.reader import Reader
from sinks.table_indexes import found_indexes

SHOWN = 12
"""Entries of a list on the screen; --json has all that the table notes."""


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """An index of the table."""

    column: str
    kind: str
    rows: int
    """Rows that are in it."""
    waiting: int
    """Rows that are not in it yet; dead rows count."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `--about --json` prints."""

    table: str
    location: str
    model: str
    """The tag of model and chunker, as in the topics' names."""
    rows: int
    """Live ones."""
    dimension: int
    vector_type: str
    about: About | None
    """None: the writer of this table was too old to note it."""
    contents: Contents
    """From the table's note, else from a sample of its rows."""
    sampled: int = 0
    """Rows that `contents` is from; 0: from the note, which has all."""
    notebook: str
    """Why `open_table(…).search("a question")` of LanceDB alone does not work; empty: it does."""
    warning: str = ""
    """The model is not one for the languages of the table."""
    indexes: list[IndexState] = []
    measured: Measured | None = None


def describe(reader: Reader) -> Description:
    """The table's description. Costs a count, the list of indexes and at most a sample of the rows.

    Raises:
        Fatal, TryAgain: the table cannot be read.
    """
    fence = reader.fence()
    contents, sampled = _contents(fence, reader)
    about = fence.about
    lists_languages = about.model_languages if about else ()
    name = about.model if about else fence.model
    return Description(
        table=reader.name,
        location=str(reader.lance.uri).rpartition("/")[0],
        model=fence.model,
        rows=reader.live_rows(),
        dimension=fence.dimension,
        vector_type=fence.vector_type,
        about=about,
        contents=contents,
        sampled=sampled,
        notebook=why_not(about, reader.read(lambda lance: lance.schema.metadata)),
        warning=languages_warning(name, lists_languages, contents.languages),
        indexes=_indexes(reader),
        measured=fence.search,
    )


def show_description(found: Description, console: Console) -> None:
    """Prints it, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, text in _lines(found):
        table.add_row(name, Text(plain_line(text)))
    console.print(table)
    if found.warning:
        console.print(Text(plain_line(found.warning), style="yellow"), soft_wrap=True)


def _contents(fence: Fence, reader: Reader) -> tuple[Contents, int]:
    if fence.about is not None and fence.about.contents != Contents():
        return fence.about.contents, 0
    rows = reader.read(sample)
    return Contents().with_pages(rows), min(len(rows), SAMPLE_ROWS)


def _indexes(reader: Reader) -> list[IndexState]:
    order = sorted(reader.read(found_indexes), key=lambda index: (index.column != VECTOR, index.column))
    return [
        IndexState(column=one.column, kind=one.kind, rows=one.indexed, waiting=one.unindexed)
        for one in order
        if one.column
    ]


def _lines(found: Description) -> Iterable[tuple[str, str]]:
    yield "table", f"{found.table} in {found.location}: {found.rows:,} rows"
    yield from _made(found)
    contents = found.contents
    where = f" (in a sample of {found.sampled:,} rows)" if found.sampled else ""
    yield "wikis", _listed(contents.wikis) + where
    yield "languages", _listed(contents.languages)
    yield "snapshots", _listed(contents.snapshots)
    yield "source", _listed(contents.sources)
    yield "licence", _listed(contents.licences)
    yield from _searched(found)
    yield "notebook", f"no: {found.notebook}" if found.notebook else "lancedb's own search takes questions in words"


def _made(found: Description) -> Iterable[tuple[str, str]]:
    about = found.about
    vectors = f"{found.dimension} x {found.vector_type}"
    if about is None:
        yield "model", f"{found.model}; the table was made before such a note was kept"
        yield "vectors", vectors
        return
    at = f" at {about.revision}" if about.place == "hub" else ""
    yield "model", f"{about.model}{at}; tag {found.model}"
    prompts = f"{about.query_prompt!r} for questions, {about.document_prompt!r} for documents"
    yield "prompts", prompts if about.query_prompt or about.document_prompt else "none"
    yield "vectors", f"{vectors}, {'of length 1, ' if about.normalized else ''}compared by {about.metric}"
    windows = f" of {about.window_tokens} tokens, {about.overlap_tokens} shared" if about.unit == "window" else ""
    yield "chunks", f"unit {about.unit}{windows}"
    yield "made", f"{about.created or 'before this was noted'}; last written by Cirrostream {about.cirrostream}"


def _searched(found: Description) -> Iterable[tuple[str, str]]:
    behind = [one.column for one in found.indexes if one.waiting]
    yield "indexes", _listed([one.column for one in found.indexes], 40) + ("" if behind else ": all up to date")
    if behind:
        most = max(one.waiting for one in found.indexes)
        yield "", f"{_listed(behind, 40)}: without the newest rows, {most:,} at most"
    measured = found.measured
    if measured is None:
        yield "measured", "nothing yet: sinks.lance does it when it has time"
        return
    yield "measured", f"{measured.at}, at {measured.rows:,} rows"
    if measured.recall is not None:
        by = f"nprobes {measured.nprobes}, refine {measured.refine}"
        yield "", f"recall@10 of the vector index {measured.recall:.3f} ({by})"
    for language, weight in list(measured.weights.items())[:SHOWN]:
        yield "", f"weights for {language or 'no known language'}: vector {weight.vector:.2f}, text {weight.text:.2f}"
    for mode, quality in measured.quality.items():
        yield "", f"{mode}: recall@10 {quality.recall:.3f}, nDCG@10 {quality.ndcg:.3f} of {quality.questions} questions"


def _listed(names: Iterable[str], most: int = SHOWN) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none known"
