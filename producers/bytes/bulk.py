"""Lines of a bulk file to its entries: an action line and the document behind it, found again after any damage.

A CirrusSearch dump is the input of Elasticsearch's bulk API: `{"index": {"_id": 12}}`, then the document, and so on. A
reader that takes lines two by two is wrong about every page behind one lost line; this one starts afresh at each action
line. A lost or garbled line costs at most the pages that it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from producers.bytes.lines import LINE_TOO_LONG, Line, Position

LOST_DOCUMENT = "lost_document"

_ACTION = re.compile(rb'\s*\{\s*"index"\s*:')


class _Target(msgspec.Struct):
    id: int | str | None = msgspec.field(name="_id", default=None)


class _ActionLine(msgspec.Struct):
    index: _Target


class _AnyActionLine(msgspec.Struct):
    index: msgspec.Raw


_action = msgspec.json.Decoder(_ActionLine, strict=False)
_any_action = msgspec.json.Decoder(_AnyActionLine)


@dataclass(frozen=True, slots=True)
class Action:
    """An action line; `page_id` is empty when its `_id` is missing or neither a number nor a string."""

    page_id: str


@dataclass(frozen=True, slots=True)
class BulkEntry:
    """One thing that a dump says, or fails to say: the unit that the ledger counts as read.

    It is a document with its action, a document whose action is lost, or, with the reason in `malformed`, an action
    without a document or lines that nothing can be made of. `lines` is how many lines it is made of (1 or 2; 0 only for
    blank lines at the file's end) and `blank` how many blank ones were passed before its last.
    """

    action: Action | None
    document: bytes | bytearray | None
    malformed: str
    lines: int
    blank: int
    after: Position
    """Where the next entry begins: never between an action and its document."""


class _Pending(NamedTuple):
    action: Action
    after: Position
    blank: int


def read_entries(lines: Iterable[Line]) -> Iterator[BulkEntry]:
    """The entries that these lines make; an action at the very end is one without a document."""
    pending: _Pending | None = None
    last, blank = Position(), 0
    for line in lines:
        last = line.after
        if line.data is not None and (not line.data or line.data.isspace()):
            blank += 1
        elif (action := _as_action(line.data)) is None:
            yield _document(pending, line, blank)
            pending, blank = None, 0
        else:
            if pending:
                yield BulkEntry(pending.action, None, LOST_DOCUMENT, 1, pending.blank, pending.after)
            # Blank lines behind a lost document lie behind its entry's position too: the next entry counts them.
            pending, blank = _Pending(action, last, blank), 0
    if pending:
        yield BulkEntry(pending.action, None, LOST_DOCUMENT, 1, pending.blank + blank, last)
    elif blank:
        yield BulkEntry(None, None, "", 0, blank, last)


def _document(pending: _Pending | None, line: Line, blank: int) -> BulkEntry:
    malformed = LINE_TOO_LONG if line.data is None else ""
    if pending is None:
        return BulkEntry(None, line.data, malformed, 1, blank, line.after)
    return BulkEntry(pending.action, line.data, malformed, 2, pending.blank + blank, line.after)


def _as_action(data: bytes | bytearray | None) -> Action | None:
    if data is None or not _ACTION.match(data):
        return None
    try:
        page_id = _action.decode(data).index.id
    except msgspec.ValidationError:
        return _action_without_id(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Action("" if page_id is None else str(page_id))


def _action_without_id(data: bytes | bytearray) -> Action | None:
    """Tells a damaged action, which still marks where a page begins, from a document that has a field `index`."""
    try:
        target = bytes(_any_action.decode(data).index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Action("") if target.lstrip().startswith(b"{") else None
