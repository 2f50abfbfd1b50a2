"""Indexes that a table should have besides the one of its vectors, held against those that it has. Pure.

An index never decides what a search finds, only how long that takes: rows that it lacks are read one by one. The full
text ones are the exception, in which a tokenizer decides; so one that was made by other rules is replaced. Any other
index that a user has made stays, and ours is left out where it serves the same filters.

Bitmaps are for columns of few values, however many rows there are (wiki, language, namespace, snapshot: below 1,000),
BTREEs for those whose values are nearly as many as the pages, or which are asked for ranges of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from lancedb.index import FTS, Bitmap, BTree, IndexConfig, LabelList

from sinks.languages import TEXT_COLUMNS, Tokenizer

MEMORY_MIB = 384
WORKERS = 1
"""Bounds on what LanceDB takes for one full-text index while it is made; one worker takes one core."""

MAX_TERM_BYTES = 200
"""Longer terms are in no index. LanceDB's 40 are bytes, too, and leave out Russian words of 20 letters."""

PLAIN = Tokenizer()


class Kind(Enum):
    """A kind of index, by LanceDB's name for it."""

    BTREE = "BTree"
    BITMAP = "Bitmap"
    LABELS = "LabelList"
    TEXT = "FTS"


@dataclass(frozen=True, slots=True)
class Index:
    """An index that a table should have."""

    column: str
    kind: Kind
    tokenizer: Tokenizer = PLAIN
    """Of a full-text index."""

    def config(self) -> BTree | Bitmap | LabelList | FTS:
        """LanceDB's configuration of it."""
        match self.kind:
            case Kind.BTREE:
                return BTree()
            case Kind.BITMAP:
                return Bitmap()
            case Kind.LABELS:
                return LabelList()
            case Kind.TEXT:
                return _text_config(self.tokenizer)


@dataclass(frozen=True, slots=True)
class Found:
    """An index that a table has, as LanceDB tells of it."""

    name: str
    column: str
    kind: str
    unindexed: int = 0
    """Rows of the table that it lacks."""
    indexed: int = 0
    bytes: int = 0
    details: Mapping[str, object] = field(default_factory=dict)
    """The tokenizer of a full-text index."""

    @classmethod
    def of(cls, config: IndexConfig) -> Found:
        """Reads an item of `list_indices`."""
        return cls(
            name=config.name,
            column=config.columns[0] if len(config.columns) == 1 else "",
            kind=config.index_type,
            unindexed=config.num_unindexed_rows or 0,
            indexed=config.num_indexed_rows or 0,
            bytes=config.size_bytes or 0,
            details=config.index_details or {},
        )


TAIL_ROWS = 500
"""Rows that a full-text index lacks which searches read one by one, 9 ms for all; so they are found at once. With more
of them (50,000: 675 ms) searches ask the index alone, and upkeep brings it up to date."""

VECTOR = "vector"
"""The column whose index has rules of its own: made from a number of rows on, trained anew as the table grows."""

KEYS = (Index("id", Kind.BTREE), Index("page", Kind.BTREE))
"""Merges look rows up by these: they come first, and often."""

NAMES = Index("names", Kind.TEXT)
"""Fuzzy queries find misspelt names in it: words as they are folded, without a stemmer."""

FILTERS = (
    Index("name", Kind.BTREE),
    Index("wiki", Kind.BITMAP),
    Index("page_id", Kind.BTREE),
    Index("language", Kind.BITMAP),
    Index("categories", Kind.LABELS),
    Index("facets", Kind.LABELS),
    Index("timestamp", Kind.BTREE),
    Index("popularity_score", Kind.BTREE),
    Index("namespace", Kind.BITMAP),
    Index("snapshot", Kind.BITMAP),
)


def text_indexes(texts: Collection[str]) -> tuple[Index, ...]:
    """Full-text indexes of a table in which these of `TEXT_COLUMNS` have rows: an empty one would cost each query."""
    return tuple(Index(column, Kind.TEXT, TEXT_COLUMNS[column]) for column in TEXT_COLUMNS if column in texts)


def wanted(columns: Collection[str], texts: Collection[str]) -> tuple[Index, ...]:
    """All that a table should have for searches, in the order in which they are made: words before names and filters.

    Args:
        columns: of the table. One that was taken over may lack some.
        texts: those of `TEXT_COLUMNS` that have rows.
    """
    return tuple(index for index in (*text_indexes(texts), NAMES, *FILTERS) if index.column in columns)


def lacking(wanted: Iterable[Index], found: Collection[Found]) -> tuple[Index, ...]:
    """Those of `wanted` that a table with the indexes `found` lacks, or has made by other rules."""
    return tuple(index for index in wanted if not any(serves(one, index) for one in found))


def in_the_way(index: Index, found: Iterable[Found]) -> tuple[str, ...]:
    """Names of the indexes to be dropped before this one is made.

    LanceDB takes a second full-text index of a column without a word, and goes on asking the first.
    """
    if index.kind is not Kind.TEXT:
        return ()
    return tuple(one.name for one in found if one.column == index.column and one.kind == Kind.TEXT.value)


def serves(found: Found, index: Index) -> bool:
    """True when this index does what that one is wanted for."""
    if found.column != index.column:
        return False
    if index.kind is Kind.TEXT:
        return found.kind == Kind.TEXT.value and _is_made_by(found.details, index.tokenizer)
    if index.kind is Kind.LABELS:
        return found.kind == Kind.LABELS.value
    return found.kind in (Kind.BTREE.value, Kind.BITMAP.value)


def is_text(found: Found) -> bool:
    """True for a full-text index of ours: the ones that decide when a row is found by its words."""
    return found.kind == Kind.TEXT.value and (found.column in TEXT_COLUMNS or found.column == NAMES.column)


def _text_config(tokenizer: Tokenizer) -> FTS:
    return FTS(
        base_tokenizer=tokenizer.base,
        language=tokenizer.stemmer or "English",
        stem=tokenizer.stemmer is not None,
        remove_stop_words=False,
        max_token_length=MAX_TERM_BYTES,
        memory_limit=MEMORY_MIB,
        num_workers=WORKERS,
    )


def _is_made_by(details: Mapping[str, object], tokenizer: Tokenizer) -> bool:
    """Compares what both know: what a LanceDB of another version does not tell is no reason to make an index anew."""
    config = _text_config(tokenizer)
    asked: dict[str, object] = {
        "base_tokenizer": config.base_tokenizer,
        "stem": config.stem,
        "remove_stop_words": config.remove_stop_words,
        "max_token_length": config.max_token_length,
        "lower_case": config.lower_case,
        "ascii_folding": config.ascii_folding,
    }
    if config.stem:
        asked["language"] = config.language
    return all(details.get(name, value) == value for name, value in asked.items())
