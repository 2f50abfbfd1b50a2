"""The fence: the one row of a table that says who writes it and how far it has read.

Rows and fence travel in one merge, so the table holds what its fence says and nothing else, whenever its writer is
killed. The stamp is what makes a second writer safe: a merge goes in only while it is the one its writer saw last.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NewType

import msgspec

from pipeline.errors import Fatal
from pipeline.records import Source
from sinks.about import About
from sinks.measured import Measured

FENCE_ID = "#fence"
"""The fence row's `id` and `page`. No page can have it: a key starts with its wiki, which has no `#`."""

FENCE_SCHEMA = 2
"""1: as of 8c9e2ef. 2: the table has derived columns, in which those who know schema 1 alone would leave nulls; the
first of them, 8c9e2ef, cannot merge into a table with more columns than its own at all."""

PLACE_SHIFT = 48
MAX_OFFSET = (1 << PLACE_SHIFT) - 1

Stamp = NewType("Stamp", int)
"""Random 63 bits: one merge of one writer."""

Version = NewType("Version", int)
"""A `Source` as the table orders them: the place of its `pages` topic in the fence's list << 48 | offset."""

VectorType = Literal["f32", "f16"]


class UnknownPagesTopic(Fatal):
    """A page comes from a `pages` topic that this table has never accepted."""


class Fence(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the fence row besides its stamp; kept as JSON in its column `fence`."""

    schema: int = FENCE_SCHEMA
    model: str
    """The tag of the model and the chunker's settings, as in the topics' names."""
    dimension: int
    vector_type: VectorType = "f32"
    vectors: str
    """Topic id of the `vectors` topic that `offsets` belong to."""
    pages: tuple[str, ...]
    """Topic ids of `pages`, oldest first: a recreated topic starts again at offset 0, yet is newer."""
    offsets: dict[int, int] = {}
    """Partition of `vectors` -> the next offset to read."""
    search: Measured | None = None
    """Measurements of this table that searches go by; None: none were made yet."""
    about: About | None = None
    """How its vectors were made; None: the table is older than this field."""

    def version(self, source: Source) -> Version:
        """The source as a number that grows with newness.

        Raises:
            UnknownPagesTopic: its topic is not in the list.
            ValueError: its offset cannot be one.
        """
        if source.topic_id not in self.pages:
            raise UnknownPagesTopic(
                f"{source} is of a `pages` topic with id {source.topic_id}, which this table has never accepted. If "
                "`pages` was made anew, start once with --adopt, then run: python -m sinks.verify --repair"
            )
        if not 0 <= source.offset <= MAX_OFFSET:
            raise ValueError(f"offset {source.offset} of its source is out of range")
        return version_of(self.pages.index(source.topic_id), source.offset)

    def moved(self, next_offsets: Mapping[int, int]) -> Fence:
        """This fence after a batch that ended at `next_offsets`; no offset goes back."""
        offsets = dict(self.offsets)
        for partition, offset in next_offsets.items():
            offsets[partition] = max(offsets.get(partition, 0), offset)
        return msgspec.structs.replace(self, offsets=offsets)

    def reset(self, offsets: Mapping[int, int]) -> Fence:
        """This fence with other offsets, which may be smaller: for an operator's reset alone."""
        return msgspec.structs.replace(self, offsets={**self.offsets, **offsets})


@dataclass(frozen=True, slots=True)
class Stamped:
    """A fence as it was read, with the stamp of the merge that wrote it: both out of one read."""

    stamp: Stamp
    fence: Fence


def version_of(place: int, offset: int) -> Version:
    """The version at this offset of the `pages` topic that has this place in the fence's list."""
    return Version(place << PLACE_SHIFT | offset)


def place_and_offset(version: Version) -> tuple[int, int]:
    """The place and offset that a version was made of."""
    return version >> PLACE_SHIFT, version & MAX_OFFSET


def new_stamp() -> Stamp:
    """A stamp that no other merge has: 63 random bits, never 0."""
    return Stamp(secrets.randbelow((1 << 63) - 1) + 1)


def encode_fence(fence: Fence) -> str:
    """The fence as JSON."""
    return msgspec.json.encode(fence).decode()


def decode_fence(data: str | None, table: str) -> Fence:
    """The fence in a table's fence row.

    Raises:
        Fatal: it is not one, or a newer Cirrostream wrote it.
    """
    try:
        fence = msgspec.json.decode(data or "", type=Fence)
    except msgspec.DecodeError as error:
        raise Fatal(
            f"table {table}: its fence row is unreadable ({error}); restore the table, or use another"
        ) from None
    if fence.schema > FENCE_SCHEMA:
        raise Fatal(f"table {table}: written by a newer Cirrostream (fence schema {fence.schema}); upgrade this one")
    return fence


def refuse_other_model(found: Fence, mine: Fence, table: str) -> None:
    """Refuses a table whose vectors come from another model, chunker setting, dimension or type.

    Raises:
        Fatal: naming both.
    """
    theirs, ours = (f"{f.model} ({f.dimension} x {f.vector_type})" for f in (found, mine))
    if theirs != ours:
        raise Fatal(
            f"table {table} holds vectors of {theirs}, this process has {ours}: choose another table "
            f"(CIRROSTREAM_TABLE), or the settings the table was made with"
        )
