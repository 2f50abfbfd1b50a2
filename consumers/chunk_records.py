"""Turns records of `pages` into encoded chunks, or the reason why they go no further. Knows no Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence

from consumers.chunk_protocol import Answer, Made, PageRecord
from consumers.chunking import Chunked, Chunker
from pipeline.errors import is_fault, one_line
from pipeline.records import ChunkedPage, Page, SchemaTooNew, Source, Undecodable, decode, encode, valid_key
from pipeline.rejected import NEWER_SCHEMA, Rejected
from pipeline.version import version


class RecordChunker:
    """Chunks records; `topic_id` is that of `pages`."""

    def __init__(self, chunker: Chunker, topic_id: str) -> None:
        self._chunker = chunker
        self._topic_id = topic_id

    def chunk(self, records: Sequence[PageRecord]) -> Answer:
        """The outcome of each record, in order."""
        started = time.perf_counter()
        read = [_read(record) for record in records]
        decoded = time.perf_counter()
        chunked = iter(self._chunk_all([page for page in read if isinstance(page, Page)]))
        results = [
            self._result(record, next(chunked) if isinstance(what, Page) else what)
            for record, what in zip(records, read, strict=True)
        ]
        return Answer(results, decoded - started)

    def _chunk_all(self, pages: Sequence[Page]) -> list[Chunked | Rejected]:
        """The chunks of each page, or the error of one that cannot be chunked even alone."""
        if not pages:
            return []
        try:
            return list(self._chunker.chunk_all(pages))
        except BaseException as error:
            if not is_fault(error):
                raise
            if len(pages) == 1:
                return [Rejected("unchunkable", one_line(error))]
        return [chunked for page in pages for chunked in self._chunk_all([page])]

    def _result(self, record: PageRecord, what: Chunked | Rejected | None) -> Made | Rejected:
        source = Source(self._topic_id, record.partition, record.offset)
        if isinstance(what, Rejected):
            return what
        if what is None:
            gone = ChunkedPage(key=record.key.decode(), source=source, page=None, cirrostream=version())
            return Made(encode(gone))
        return Made(encode(what.record(source)), len(what.chunks), what.tokens, what.unknown)


def _read(record: PageRecord) -> Page | Rejected | None:
    try:
        key = record.key.decode()
        if not valid_key(key):
            raise Undecodable(f"the key {key[:300]!r} is not WIKI:PAGE_ID")
        page = None if record.value is None else decode(record.value, Page)
        if page is not None and page.key != key:
            raise Undecodable(f"the key is {key!r}, the page says {page.key!r}")
    except UnicodeDecodeError as error:
        return Rejected(Undecodable.reason, f"its key is no UTF-8: {error}")
    except Undecodable as error:
        return Rejected(error.reason, str(error))
    except SchemaTooNew as error:
        return Rejected(NEWER_SCHEMA, str(error))
    return page
