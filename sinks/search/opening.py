"""Opening a table for searches: all that can be wrong is said before the model is loaded, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import PurePath
from typing import Any, cast

import structlog
from lancedb.table import LanceTable
from pydantic import Field, ValidationError

from pipeline.errors import CirrostreamError, TryAgain, UsageError
from pipeline.model_card import languages_warning
from pipeline.model_config import METRICS, Metric
from pipeline.model_files import ModelFiles, resolve
from pipeline.settings import ModelSettings, TableSettings, refusals
from sinks.fence import Fence
from sinks.languages import TEXT_COLUMNS
from sinks.named_model import files_for
from sinks.reader import FILL, Reader
from sinks.table_indexes import found_indexes

PREWARMED = ("id", "name", "names", "vector", *TEXT_COLUMNS)
"""Columns whose indexes a search reads."""
PREWARM_BYTES = 2 << 30
"""Of indexes that are read at the start, in all; what is beyond is read by the first questions."""


class SearchOptions(ModelSettings, TableSettings):
    """Table, model and device of a search; each a flag or a variable of the environment, as everywhere."""

    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto: the first GPU, else the CPU.")
    rerank: str = Field(
        "", description="Cross-encoder that orders the best hits anew: a hub name or a folder; empty: none."
    )


def options_of(chosen: Mapping[str, Any]) -> SearchOptions:
    """Settings by name; those that are not given are read from the environment.

    Raises:
        UsageError: there is no such setting, or it cannot have this value.
    """
    if unknown := sorted(chosen.keys() - SearchOptions.model_fields.keys()):
        raise UsageError(f"Search.open: there is no setting {', '.join(unknown)}; docs/configuration.md has them")
    values: dict[str, Any] = {
        name: str(value) if isinstance(value, PurePath) else value for name, value in chosen.items()
    }
    try:
        return SearchOptions(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{name}: {why}" for name, why in refusals(SearchOptions, error))
        raise UsageError(f"Search.open: {wrong}") from None


def open_reader(options: TableSettings) -> Reader:
    """The table of these settings.

    Raises:
        UsageError: there is no such table.
        TryAgain: nothing is in it yet.
    """
    reader = Reader.open(options)
    if not reader.live_rows():
        raise TryAgain(f"table {options.table} has no rows yet: wait for the pipeline, or {FILL}")
    return reader


def model_of(options: ModelSettings, reader: Reader) -> ModelFiles:
    """The model that the table's vectors are of: the one that was chosen, else the one that the table names.

    Raises:
        UsageError: these settings mean another one, or it cannot be had.
        TryAgain: the hub cannot be reached.
    """
    return files_for(reader.fence(), options, reader.name)


def notes_on(fence: Fence, files: ModelFiles | None) -> list[str]:
    """Sentences that belong to every answer: the model is not one for the languages of the table."""
    if files is None:
        return []
    there = fence.about.contents.languages if fence.about else ()
    languages = there or (tuple(fence.search.weights) if fence.search else ())
    warning = languages_warning(files.name, files.languages, languages)
    return [warning] if warning else []


def metric_of(options: ModelSettings, fence: Fence) -> Metric:
    """The metric of the table's vectors, where it says so or its model is at hand; else the usual one."""
    if fence.about is not None and fence.about.metric in METRICS.values():
        return cast("Metric", fence.about.metric)
    try:
        files = resolve(options, weights=False)
    except CirrostreamError:
        return "cosine"
    return files.metric if files.tag == fence.model else "cosine"


def prewarm(reader: Reader, pool: Executor) -> None:
    """Has the indexes read into memory, beside all else: a first question takes as long as the tenth then."""
    pool.submit(_prewarm, reader)


def _prewarm(reader: Reader) -> None:
    try:
        reader.read(_read_indexes)
    except CirrostreamError as error:
        structlog.get_logger().warning("search.prewarm", error=str(error))


def _read_indexes(lance: LanceTable) -> None:
    room = PREWARM_BYTES
    found = [index for index in found_indexes(lance) if index.column in PREWARMED]
    for index in sorted(found, key=lambda index: PREWARMED.index(index.column)):
        room -= index.bytes
        if room < 0:
            return
        lance.prewarm_index(index.name)
