"""Records as the next release would write them."""

from __future__ import annotations

from pipeline.records import SCHEMA_VERSION


def of_newer_schema(record: bytes) -> bytes:
    """The same record with a schema that this release does not know."""
    return record.replace(b"\xa6schema" + bytes([SCHEMA_VERSION]), b"\xa6schema" + bytes([SCHEMA_VERSION + 1]))
