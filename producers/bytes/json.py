"""JSON that others write, as far as it can be read.

Python's own writer gives `NaN` and `Infinity`, which no JSON has, and whole numbers of any length; a text that was cut
in the middle of a character, or has half of a surrogate pair, is no UTF-8. Each of these costs its own value.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NOT_JSON = "not_json"
"""Reason for an entry that is no JSON."""

BAD_TEXT, BAD_NUMBER = "text_encoding", "bad_number"
"""Notes of what was mended."""

# Escapes in order, so that the second backslash of `\\ud800` is not taken for the start of one.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_LONE_SURROGATE_LENGTH = len(rb"\ud800")

# Strings whole, so that no word inside one is taken for a number. Python takes whole numbers of 4,300 digits.
_STRING_OR_NO_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?(?:NaN|Infinity)\b|-?[0-9]{4001,}+(?![.eE])', re.DOTALL)


class Mended(NamedTuple):
    """JSON that was mended, and what was wrong with it: `BAD_TEXT`, `BAD_NUMBER` or both."""

    data: bytes
    notes: list[str]


def mend_json(data: bytes | bytearray, nothing: bytes = b"null") -> Mended | None:
    """The JSON with U+FFFD for what is no text, and `nothing` for what is no number; None when neither is in it.

    To be tried when a reader refused `data`. It may still be no JSON.
    """
    text = repair_text(data)
    written = bytes(data) if text is None else text
    repaired = _STRING_OR_NO_NUMBER.sub(lambda found: found[0] if found[0][:1] == b'"' else nothing, written)
    notes = [BAD_TEXT] * (text is not None) + [BAD_NUMBER] * (repaired != written)
    return Mended(repaired, notes) if notes else None


def repair_text(data: bytes | bytearray) -> bytes | None:
    """The bytes with U+FFFD for bad UTF-8 and halves of surrogate pairs; None when there is neither."""
    repaired = _ESCAPE.sub(_without_lone_surrogate, data.decode("utf-8", "replace").encode())
    return None if repaired == data else repaired


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    found = escape.group()
    return rb"\ufffd" if len(found) == _LONE_SURROGATE_LENGTH else found
