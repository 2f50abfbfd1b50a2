"""JSON whose text is damaged, as far as it can be read all the same."""

from __future__ import annotations

import re

NOT_JSON = "not_json"
"""Reason for an entry that is no JSON."""

# Escapes in order, so that the second backslash of `\\ud800` is not taken for the start of one.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_LONE_SURROGATE_LENGTH = len(rb"\ud800")


def repair_text(data: bytes | bytearray) -> bytes | None:
    """The bytes with U+FFFD for bad UTF-8 and halves of surrogate pairs; None when there is neither."""
    repaired = _ESCAPE.sub(_without_lone_surrogate, data.decode("utf-8", "replace").encode())
    return None if repaired == data else repaired


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    found = escape.group()
    return rb"\ufffd" if len(found) == _LONE_SURROGATE_LENGTH else found
