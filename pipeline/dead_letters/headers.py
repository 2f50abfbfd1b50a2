"""A dead letter's headers, read without trust: whoever may write to the topic can write any."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.records import Source

MAX_BYTES = 16 * 1024
"""Of one header; ours are shorter."""
MAX_CHARACTERS = 1_000
"""Of a header's text that anything is shown or counted by."""

_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_SOURCE = re.compile(r"([^/]{1,64})/([0-9]{1,9})/([0-9]{1,18})\Z")


class Headers:
    """The fields of one letter; `odd` says what is wrong first, and nothing raises."""

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.odd = ""
        self._fields: dict[str, str] = {}
        for name, value in headers:
            if name in self._fields:
                self._note(f"header {_short(name)} is there twice")
            else:
                self._fields[name] = self._decoded(name, value)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        """A header that every letter has."""
        if name not in self._fields:
            self._note(f"there is no header {name}")
        return self._fields.get(name, "")

    def number(self, name: str, missing: int | None = None) -> int:
        """A header that is a number and 0 or more; -1 for one that is none."""
        if name not in self._fields and missing is not None:
            return missing
        text = self.text(name)
        if not _NUMBER.match(text):
            self._note(f"header {name} is no number: {_short(text)}")
            return -1
        return int(text)

    def source(self) -> Source | None:
        """The page's version, of a letter that has it."""
        if "source" not in self._fields:
            return None
        found = _SOURCE.match(self._fields["source"])
        if found is None:
            self._note(f"header source is no version of a page: {_short(self._fields['source'])}")
            return None
        return Source(found[1], int(found[2]), int(found[3]))

    def _decoded(self, name: str, value: bytes | None) -> str:
        if value is None:
            self._note(f"header {_short(name)} is null")
            return ""
        if len(value) > MAX_BYTES:
            self._note(f"header {_short(name)} has {len(value)} bytes")
        try:
            return value[:MAX_BYTES].decode()[:MAX_CHARACTERS]
        except UnicodeDecodeError:
            if len(value) <= MAX_BYTES:
                self._note(f"header {_short(name)} is no UTF-8")
            return value[:MAX_BYTES].decode("utf-8", "replace")[:MAX_CHARACTERS]

    def _note(self, odd: str) -> None:
        self.odd = self.odd or odd


def _short(text: str) -> str:
    return repr(text[:40])
