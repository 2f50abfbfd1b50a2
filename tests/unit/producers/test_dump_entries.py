"""Documents find their action lines again after any damage."""

from __future__ import annotations

import pytest

from producers.bytes.bulk import BulkEntry, read_entries
from producers.bytes.lines import BYTE_ORDER_MARK, read_lines
from tests.dumps import dumped, joined, pair, pairs


def entries(lines: list[bytes], max_bytes: int = 1_000_000) -> list[BulkEntry]:
    return list(read_entries(read_lines([joined(lines)], max_bytes=max_bytes)))


def told(found: list[BulkEntry]) -> list[tuple[str | None, bool, str]]:
    """The id that each entry's action gives, whether a document is there, and what is wrong."""
    return [(e.action.page_id or None if e.action else None, e.document is not None, e.malformed) for e in found]


@pytest.mark.parametrize("layout", ["new", "legacy"])
def test_pairs_are_paired(layout: str) -> None:
    found = entries(pairs([1, 22], layout))
    assert told(found) == [("1", True, ""), ("22", True, "")]
    assert [e.after.line for e in found] == [2, 4]


@pytest.mark.parametrize("layout", ["new", "legacy"])
def test_a_byte_order_mark_costs_no_page_also_where_files_were_joined(layout: str) -> None:
    file = BYTE_ORDER_MARK + joined(pairs([1, 22], layout))
    found = list(read_entries(read_lines([file + file])))
    assert told(found) == [("1", True, ""), ("22", True, "")] * 2


def test_an_action_without_its_document_costs_no_neighbour() -> None:
    lines = pairs([1, 2, 3])
    del lines[3]
    assert told(entries(lines)) == [("1", True, ""), ("2", False, "lost_document"), ("3", True, "")]


def test_a_document_without_its_action_costs_no_neighbour() -> None:
    lines = pairs([1, 2, 3])
    del lines[2]
    assert told(entries(lines)) == [("1", True, ""), (None, True, ""), ("3", True, "")]


def test_an_action_at_the_end_has_lost_its_document() -> None:
    assert told(entries(pairs([1, 2])[:-1])) == [("1", True, ""), ("2", False, "lost_document")]


def test_a_line_too_long_takes_only_its_action_along() -> None:
    lines = [*pair(1), *pair(2, text="x" * 5_000), *pair(3)]
    assert told(entries(lines, max_bytes=2_000)) == [
        ("1", True, ""),
        ("2", False, "line_too_long"),
        ("3", True, ""),
    ]


def test_a_position_never_lies_between_an_action_and_its_document() -> None:
    lines = [b"", *pair(1), b"", b"  ", *pair(2)[:1], b"", *pair(3), b"", *pair(4)[:1], b"", *pair(4)[1:], b"", b""]
    found = entries(lines)
    assert told(found) == [
        ("1", True, ""),
        ("2", False, "lost_document"),
        ("3", True, ""),
        ("4", True, ""),
        (None, False, ""),
    ]
    for passed, entry in enumerate(found, start=1):
        data = joined(lines)
        rest = list(read_entries(read_lines([data], entry.after)))
        assert told(rest) == told(found[passed:])
        assert sum(e.lines + e.blank for e in found[:passed]) == entry.after.line


@pytest.mark.parametrize(
    ("line", "page_id"),
    [
        (b'{"index": {"_id": 7}}', "7"),
        (b'{"index":{"_index":"enwiki_content","_id":"7"}}', "7"),
        (b' { "index" : { "_id" : 7 } } \r', "7"),
        (b'{"index": {}}', None),
        (b'{"index": {"_id": [7]}}', None),
        (b'{"index": {"_id": null}}', None),
    ],
)
def test_an_action_line_is_known_by_its_form(line: bytes, page_id: str | None) -> None:
    assert told(entries([line, b"{}"])) == [(page_id, True, "")]


@pytest.mark.parametrize(
    "line",
    [
        b'{"index": {"_id": 7}',
        b'{"index": {"_id": 7}}{"title": "x"}',
        b'{"index": 5, "title": "x"}',
        b'{"index": "\xff',
    ],
)
def test_what_only_looks_like_an_action_line_is_a_document(line: bytes) -> None:
    assert told(entries([line])) == [(None, True, "")]


def test_a_document_that_has_a_field_index_is_a_document() -> None:
    line = dumped({"index": "of books", "title": "Index", "page_id": 5})
    assert told(entries([*pair(5)[:1], line])) == [("5", True, "")]
