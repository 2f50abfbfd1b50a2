"""Records that travel between the stages: one page, one message, in every topic.

A message is a msgpack map of a `msgspec.Struct`, so that a reader in any language finds the fields by name; its
key is `wiki:page_id`. A record carries the number of its schema: `decode` tells a newer one, for which this process
must be upgraded, from one that nothing of ours can have written.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec

from pipeline.errors import CirrostreamError, Exit

SCHEMA_VERSION = 1

MAX_AHEAD = 8
"""Schemas grow by one, and no process of a pipeline is so many behind another: a greater one is of no release."""

WIKI_PATTERN = r"\A[a-z0-9][a-z0-9_-]{0,63}\Z"
PAGE_ID_PATTERN = r"\A[^\x00-\x1f\x7f]{1,256}\Z"

Wiki = Annotated[str, msgspec.Meta(pattern=WIKI_PATTERN)]
PageId = Annotated[str, msgspec.Meta(pattern=PAGE_ID_PATTERN)]


class Undecodable(ValueError):
    """These bytes are not a record of the expected kind: poison, for the dead letters."""

    reason: ClassVar[str] = "undecodable"


class UnknownSchema(Undecodable):
    """The record has a schema that no release has: it is of none of our processes."""

    reason = "unknown_schema"


class SchemaTooNew(CirrostreamError):
    """The record was written by a newer Cirrostream; this process is to be upgraded, which may be just happening."""

    exit_code = Exit.TRY_AGAIN


def utc_timestamp(moment: datetime) -> str:
    """A time with its zone as `Page.timestamp` has it: UTC, to the second, the year in four digits also before 1000,
    where `strftime` writes fewer. Raises OverflowError for one that is before year 1 in UTC, or after 9999."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One document, as it stood when it was sent to `pages`.

    From `chunks` on, `text` is what the chunks' spans refer to (the opening text for unit `lead`) and
    `opening_text` is empty.
    """

    schema: int = SCHEMA_VERSION
    wiki: Wiki
    page_id: PageId
    title: str
    text: str
    opening_text: str = ""
    revision: int | None = None
    url: str = ""
    timestamp: str = ""
    """ISO 8601 time of the revision, as the source gives it; empty when it gives none."""
    categories: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """Titles of the redirects that lead here."""
    incoming_links: int | None = None
    popularity_score: float | None = None
    language: str = ""
    namespace: int = 0
    snapshot: str = ""
    """Date of the dump, `YYYYMMDD`; empty for sources without snapshots."""
    text_hash: str = ""
    metadata: str = ""
    """A JSON object with the fields of other sources; empty when there are none."""
    cirrostream: str = ""
    """Version of the producer that sent it; empty: older than this field."""

    @property
    def key(self) -> str:
        """The message key, which chooses the partition: `wiki:page_id`."""
        return f"{self.wiki}:{self.page_id}"


class Source(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A page's version: where its record stands in `pages`.

    Within one `pages` topic a greater offset is newer. Between recreated topics the table's fence has the order
    of the topic ids; the ids themselves have none.
    """

    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"pages-{self.partition}@{self.offset}"


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A window of a page's tokens.

    `ids` are the complete model input (special tokens, prompt, title and window) as little-endian unsigned
    integers of the ChunkedPage's `id_bytes`; `start` and `end` are the window's span in `page.text`, in
    Unicode code points.
    """

    number: int
    start: int
    end: int
    ids: bytes


class ChunkedPage(msgspec.Struct, frozen=True, kw_only=True):
    """All chunks of one page; no page and no chunks for a deletion."""

    schema: int = SCHEMA_VERSION
    key: str
    source: Source
    page: Page | None
    id_bytes: Literal[2, 4] = 2
    chunks: tuple[Chunk, ...] = ()
    cirrostream: str = ""
    """Version of the chunker that made it; empty: older than this field."""

    @property
    def deleted(self) -> bool:
        return self.page is None


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A chunk without its tokens: number and span in `page.text`, in Unicode code points."""

    number: int
    start: int
    end: int


class EmbeddedPage(msgspec.Struct, frozen=True, kw_only=True):
    """All chunks of one page with their vectors; no page and no spans for a deletion.

    `vectors` is the C-ordered array of shape (len(spans), dimension), little-endian, of type `vector_type`.
    """

    schema: int = SCHEMA_VERSION
    key: str
    source: Source
    page: Page | None
    spans: tuple[Span, ...] = ()
    dimension: int = 0
    vector_type: Literal["f4", "f2"] = "f4"
    vectors: bytes = b""
    device: str = ""
    """The device that computed the vectors, such as `cpu` or `NVIDIA H200`."""
    dtype: str = ""
    """The precision they were computed in, such as `float32` or `bfloat16`."""
    chunks_offset: int | None = None
    """Where the ChunkedPage stands in `chunks`, in the same partition; None: the embedder is older than this field."""
    embedded_at: int | None = None
    """The embedder's time at which the vectors were there, in milliseconds since 1970, UTC; None: it is older than
    this field."""
    cirrostream: str = ""
    """Version of the embedder that made it; empty: older than this field."""

    def __post_init__(self) -> None:
        expected = len(self.spans) * self.dimension * int(self.vector_type[1])
        if len(self.vectors) != expected:
            raise ValueError(f"vectors have {len(self.vectors)} bytes, {len(self.spans)} spans need {expected}")

    @property
    def deleted(self) -> bool:
        return self.page is None


class _Envelope(msgspec.Struct):
    schema: int


class _Sourced(msgspec.Struct):
    source: Source


R = TypeVar("R", Page, ChunkedPage, EmbeddedPage)

_encoder = msgspec.msgpack.Encoder()
_envelope = msgspec.msgpack.Decoder(_Envelope)
_sourced = msgspec.msgpack.Decoder(_Sourced)
_decoders: dict[type, msgspec.msgpack.Decoder[object]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (Page, ChunkedPage, EmbeddedPage)
}


def encode(record: Page | ChunkedPage | EmbeddedPage) -> bytes:
    """The record as msgpack."""
    return _encoder.encode(record)


def decode(data: bytes, kind: type[R]) -> R:
    """The record of this kind in `data`.

    Raises:
        SchemaTooNew: the record has a newer schema than this process knows.
        UnknownSchema: it has one that no release has.
        Undecodable: anything else is wrong with it.
    """
    try:
        record: R = _decoders[kind].decode(data)  # type: ignore[assignment]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_other_schema(_schema_of(data), kind)
        raise Undecodable(f"not a {kind.__name__}: {error}") from None
    _refuse_other_schema(record.schema, kind)
    return record


def source_of(data: bytes) -> Source | None:
    """The version of the page in a record, and nothing else of it read; None when it does not say."""
    try:
        return _sourced.decode(data).source
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _schema_of(data: bytes) -> int:
    try:
        return _envelope.decode(data).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return SCHEMA_VERSION


def _refuse_other_schema(schema: int, kind: type[R]) -> None:
    if not 1 <= schema <= SCHEMA_VERSION + MAX_AHEAD:
        raise UnknownSchema(f"a {kind.__name__} of schema {schema}, which no release has")
    if schema > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"a {kind.__name__} has schema {schema}, this process knows {SCHEMA_VERSION}: upgrade this process; "
            "nothing was lost, it goes on at the same offset"
        )


def text_hash(title: str, text: str) -> str:
    """64 bits that tell two versions of a page's content apart, as 16 hex digits (BLAKE2b)."""
    digest = hashlib.blake2b(title.encode("utf-8", "surrogatepass"), digest_size=8)
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


_WIKI = re.compile(WIKI_PATTERN)
_PAGE_ID = re.compile(PAGE_ID_PATTERN)


def valid_wiki(wiki: str) -> bool:
    """True when `wiki` may stand in a key, such as `enwiki`."""
    return _WIKI.match(wiki) is not None


def valid_page_id(page_id: str) -> bool:
    """True when `page_id` may stand in a key: 1 to 256 characters, none of them a control character."""
    return _PAGE_ID.match(page_id) is not None


def valid_key(key: str) -> bool:
    """True when a message key can be one of a page: `wiki:page_id`."""
    wiki, _, page_id = key.partition(":")
    return valid_wiki(wiki) and valid_page_id(page_id)
