"""The reason why an input goes no further, in every stage."""

from __future__ import annotations

import msgspec

NEWER_SCHEMA = "newer_schema"
"""The reason of a record that only a newer release can read: a dead letter once an upgrade has had its time."""


class Rejected(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A document, record or row that goes no further, and is counted under its reason."""

    reason: str
    """The label value of the metrics that count it."""
    detail: str = ""
    """For a person: where it is and what is wrong with it."""
    damaged: bool = False
    """It cannot be read at all; false for one that is left out on purpose."""
