"""Opens a measurement: the table, as a reader sees it, and its model."""

from __future__ import annotations

import structlog

from pipeline.errors import CirrostreamError
from pipeline.model_files import ModelFiles, resolve
from pipeline.settings import MIB, ModelSettings, TableSettings
from sinks.measure.clock import Deadline
from sinks.measure.sample import sampled_pages
from sinks.measure.settings import MeasureSettings
from sinks.measure.table import measure, quality_of
from sinks.measured import Measured, Quality
from sinks.reader import Reader, refuse_other_model
from sinks.search.encoder import QuestionEncoder

CACHE_BYTES = 512 * MIB
"""Of the indexes: a measurement reads each part of them once or twice, and shares its machine with the writer."""


def measured_table(settings: MeasureSettings, *, seed: int = 0) -> Measured:
    """The measurements of the table of these settings.

    Without a model that can be loaded, as where the writer's machine has no torch or no way to the hub, all that needs
    none is measured; a warning says so.

    Raises:
        UsageError: there is no such table, or it is of another model.
        Fatal, TryAgain: it cannot be read.
    """
    reader = Reader.open(settings, index_cache_bytes=CACHE_BYTES)
    files = resolve(settings, weights=False)
    refuse_other_model(reader.fence(), files.tag, settings.table)
    return measure(reader, encoder_of(settings), files.metric, seconds=settings.measure_seconds, seed=seed)


def table_quality(
    settings: ModelSettings, table: TableSettings, *, seconds: float, seed: int = 0
) -> dict[str, Quality]:
    """The quality of searches of this table as it is, with the weights that its fence has: `sinks.verify --quality`.

    Raises:
        UsageError: there is no such table, it is of another model, or that cannot be loaded.
        Fatal, TryAgain: it cannot be read.
    """
    reader = Reader.open(table, index_cache_bytes=CACHE_BYTES)
    files = resolve(settings, weights=True)
    refuse_other_model(reader.fence(), files.tag, table.table)
    encoder = QuestionEncoder.load(files, "cpu")
    pages, deadline = sampled_pages(reader, seed), Deadline.after(seconds)
    return quality_of(reader, encoder, files.metric, pages, seed=seed, deadline=deadline)


def encoder_of(settings: MeasureSettings) -> QuestionEncoder | None:
    """The model, loaded; None, with a warning, where that cannot be."""
    try:
        files: ModelFiles = resolve(settings, weights=True)
        return QuestionEncoder.load(files, "cpu")
    except (CirrostreamError, ImportError, OSError, MemoryError) as error:
        structlog.get_logger().warning("measure.no_model", error=str(error), meaning="only words are measured")
        return None
