"""Faults that keep a page out of the table, found before the merge: nobody would find a bad vector afterwards.

The table's `on_bad_vectors="null"`, which null rows need, would turn one into a silent null. Pure.
"""

from __future__ import annotations

import numpy as np

from pipeline.records import EmbeddedPage, Page, valid_key
from pipeline.rejected import Rejected
from sinks.fence import MAX_OFFSET
from sinks.row_bytes import too_large
from sinks.rows import VectorRule, norms_of, vector_faults

_INT32 = range(-(1 << 31), 1 << 31)
_INT64 = range(-(1 << 63), 1 << 63)
_TIMES = range(253_402_300_800_000)
"""Milliseconds from 1970 to the end of the year 9999, the last that Python can show."""


def rejection(record: EmbeddedPage, rule: VectorRule) -> Rejected | None:
    """The reason why a page must not be written, or None for a sound one."""
    if error := _key_fault(record):
        return Rejected("bad_key", error)
    if record.page is None:
        return Rejected("bad_chunks", "a deletion with chunks") if record.spans else None
    if error := _page_fault(record.page, record.embedded_at):
        return Rejected("bad_page", error)
    if error := _span_fault(record, len(record.page.text)):
        return Rejected("bad_chunks", error)
    if error := too_large(record):
        return Rejected("too_large", error)
    error = _vector_fault(record, rule) if record.spans else None
    return Rejected("bad_vectors", error) if error else None


def _key_fault(record: EmbeddedPage) -> str | None:
    if not valid_key(record.key):
        return "its key is not wiki:page_id"
    if record.page is not None and record.page.key != record.key:
        return f"its page is {record.page.key}"
    if not 0 <= record.source.offset <= MAX_OFFSET or record.source.partition not in _INT32:
        return f"its source {record.source} is out of range"
    return None


def _page_fault(page: Page, embedded_at: int | None) -> str | None:
    if (embedded_at or 0) not in _TIMES:
        return f"its embedded_at {embedded_at} is no time in milliseconds"
    if page.namespace not in _INT32:
        return "its namespace is no 32-bit number"
    if (page.revision or 0) not in _INT64 or (page.incoming_links or 0) not in _INT64:
        return "its revision or incoming_links is no 64-bit number"
    return None


def _span_fault(record: EmbeddedPage, length: int) -> str | None:
    for place, span in enumerate(record.spans):
        if span.number != place:
            return f"chunk {place} has number {span.number}"
        if not 0 <= span.start <= span.end <= length:
            return f"chunk {place} has span {span.start}..{span.end} in a text of {length}"
    return None


def _vector_fault(record: EmbeddedPage, rule: VectorRule) -> str | None:
    if record.dimension != rule.dimension:
        return f"its vectors have dimension {record.dimension}, the table has {rule.dimension}"
    vectors = _vectors(record)
    if rule.vector_type == "f16" and (np.abs(vectors[np.isfinite(vectors)]) > np.finfo(np.float16).max).any():
        return "a vector does not fit into 16 bits"
    for fault in vector_faults(norms_of(vectors.astype(rule.numpy)), normalized=rule.normalized):
        return f"the vector of chunk {fault.row} {fault.what}"
    return None


def _vectors(record: EmbeddedPage) -> np.ndarray[tuple[int, int], np.dtype[np.floating]]:
    kind = np.dtype("<" + record.vector_type)
    return np.frombuffer(record.vectors, dtype=kind).reshape(len(record.spans), record.dimension)
