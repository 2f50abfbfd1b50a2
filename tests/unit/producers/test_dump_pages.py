"""Whatever happens to a dump's lines: the account balances, and damage costs at most the pages it touches."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.account import Ledger, total
from producers.bytes.bulk import read_entries
from producers.bytes.lines import BEGINNING, Position, read_lines
from producers.cirrus import CirrusReader, CirrusSettings
from producers.run.shards import Origin
from producers.run.source import TOO_LARGE
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.settings import DocumentRules
from tests.dumps import LAYOUTS, document, joined, pair, pairs
from tests.reading import shard_of

MAX_LINE = 2_000
READER = CirrusReader(shard_of(Path("none"), Origin("enwiki", "20261115")), CirrusSettings())


@dataclass
class Reading:
    """What reading a dump gave, with the account at every position on the way."""

    pages: list[Page] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    positions: list[tuple[Position, Ledger]] = field(default_factory=list)


def reading(data: bytes, start: Position = BEGINNING, ledger: Ledger | None = None) -> Reading:
    out = Reading(ledger=(ledger or Ledger()).copy())
    for entry in read_entries(read_lines([data], start, max_bytes=MAX_LINE)):
        read = READER.entry(entry)
        out.ledger.take(read)
        if isinstance(read.page, Page):
            out.pages.append(read.page)
        out.positions.append((entry.after, out.ledger.copy()))
        assert out.ledger.balanced, out.ledger
    return out


@dataclass
class Damage:
    """A dump after damage, and the pages that the damage has touched."""

    lines: list[bytes]
    touched: set[int]


DAMAGES = ("lose", "cut", "junk", "repeat", "insert", "join", "blank", "too long")


def damaged(layout: str, count: int, harm: list[tuple[int, str]], seed: int) -> Damage:
    """A dump of `count` pages with some lines harmed; a harmed line touches its page, a joined one the next as well."""
    chance = random.Random(seed)
    lines, touched = pairs(range(1, count + 1), layout), set()
    harmed = {place % len(lines): kind for place, kind in harm}
    out: list[bytes] = []
    join = False
    for number, line in enumerate(lines):
        kind, page = harmed.get(number, ""), number // 2 + 1
        new = _harmed(line, kind, chance)
        if kind in DAMAGES:
            touched.add(page)
        if join and new:
            touched.add(page)
            new[0] = out.pop() + new[0]
            join = False
        out += new
        join = join or kind == "join"
    return Damage(out, touched)


def _harmed(line: bytes, kind: str, chance: random.Random) -> list[bytes]:
    junk = chance.randbytes(30).replace(b"\n", b"")
    return {
        "lose": [],
        "cut": [line[: len(line) // 2]],
        "junk": [line[:9] + junk + line[9 + len(junk) :]],
        "repeat": [line, line],
        "insert": [line, junk],
        "join": [line],
        "blank": [line, b"", b" \r"],
        "too long": [line[:-1] + b" " * MAX_LINE + line[-1:]],
    }.get(kind, [line])


harms = st.lists(st.tuples(st.integers(0, 39), st.sampled_from(DAMAGES)), max_size=6)


@settings(max_examples=300)
@given(st.sampled_from(LAYOUTS), st.integers(1, 20), harms, st.integers(0, 10_000))
def test_damage_costs_at_most_the_pages_it_touches(
    layout: str, count: int, harm: list[tuple[int, str]], seed: int
) -> None:
    dump = damaged(layout, count, harm, seed)
    found = reading(joined(dump.lines))
    by_id = {page.page_id: page for page in found.pages}
    for page_id in set(range(1, count + 1)) - dump.touched:
        assert by_id[str(page_id)].text == document(page_id)["text"]
    assert found.ledger.produced == len(found.pages)


@settings(max_examples=100)
@given(st.sampled_from(LAYOUTS), st.integers(1, 8), harms, st.integers(0, 10_000))
def test_going_on_from_any_position_ends_in_the_same_account(
    layout: str, count: int, harm: list[tuple[int, str]], seed: int
) -> None:
    data = joined(damaged(layout, count, harm, seed).lines)
    whole = reading(data)
    for position, ledger in whole.positions:
        rest = reading(data, position, ledger)
        assert rest.ledger == whole.ledger
        assert rest.pages == whole.pages[ledger.produced :]


@settings(max_examples=300)
@given(st.binary(max_size=400) | st.text(alphabet='{}":[],\n\\ index_d1', max_size=200).map(str.encode))
def test_the_account_of_any_bytes_balances(data: bytes) -> None:
    found = reading(data)
    assert found.ledger.lines == data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))


@settings(max_examples=200)
@given(st.data())
def test_one_flipped_byte_never_changes_a_neighbour(data: st.DataObject) -> None:
    lines = pairs(range(10, 16))
    text = bytearray(joined(lines))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.integers(0, 255))
    touched = bytes(joined(lines))[:place].count(b"\n") // 2
    found = {page.page_id: page.text for page in reading(bytes(text)).pages}
    for number in {*range(6)} - {touched, touched + 1}:
        assert found[str(10 + number)] == document(10 + number)["text"]
    assert len(set(found) - {str(n) for n in range(10, 16)}) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_line_of_a_mixed_dump_is_accounted_for(layout: str) -> None:
    lines = [
        *pair(1, layout),
        *pair(2, layout, page_type="redirect"),
        *pair(3, layout, namespace=4),
        *pair(4, layout, text=""),
        *pair(5, layout, title=None),
        *pair(6, layout)[:1],
        *pair(7, layout),
        b"",
        *pair(8, layout)[1:],
        b"not json",
        *pair(9, layout, text="x" * 3 * MAX_LINE),
        *pair(10, layout, version="no number"),
    ]
    ledger = reading(joined(lines)).ledger
    recovered = layout == "new"
    assert ledger == Ledger(
        lines=20,
        blank=1,
        paired=8,
        read=11,
        produced=4 if recovered else 3,
        dropped={"redirect": 1, "namespace": 1, "empty": 1, "missing_title": 1},
        malformed={"lost_document": 1, "not_json": 1, "line_too_long": 1} | ({} if recovered else {"lost_action": 1}),
        mended={"version": 1} | ({"lost_action": 1} if recovered else {}),
    )


def test_a_page_refused_by_kafka_is_dropped_and_not_produced() -> None:
    ledger = Ledger()
    for entry in read_entries(read_lines([joined(pair(1))])):
        read = READER.entry(entry)
        assert isinstance(read.page, Page)
        ledger.take(read, TOO_LARGE)
    assert ledger.balanced
    assert (ledger.produced, ledger.dropped) == (0, {"too_large": 1})


def test_a_ledger_that_lost_something_does_not_balance() -> None:
    good = Ledger(lines=2, paired=1, read=1, produced=1)
    assert good.balanced
    assert not Ledger(lines=2, paired=1, read=1, produced=0).balanced
    assert not Ledger(lines=3, paired=1, read=1, produced=1).balanced
    assert total([good, good]) == Ledger(lines=4, paired=2, read=2, produced=2)


def unreadable(*lines: bytes) -> list[tuple[str, ...] | None]:
    """Of each entry: None when it could be read, else the ids that it names."""
    found = [READER.entry(entry) for entry in read_entries(read_lines([joined(lines)], BEGINNING, MAX_LINE))]
    return [entry.may_be if entry.unreadable else None for entry in found]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_entry_that_cannot_be_read_still_names_the_page_of_its_action(layout: str) -> None:
    action, good = pair(12, layout)
    garbled = good[: len(good) // 2]
    assert unreadable(action, good) == [None]
    for document_line in (garbled, b"[]", b"x" * (MAX_LINE + 1)):
        assert unreadable(action, document_line) == [("12",)], document_line[:20]
    for wrong in ({"title": 5}, {"text": ["x"]}, {"title": None}, {"text": None}):
        assert unreadable(*pair(12, layout, **wrong)) == [("12",)], wrong
    assert unreadable(action, *pair(13, layout)) == [("12",), None]


def test_an_entry_that_names_two_pages_may_be_either_and_one_that_names_none_any() -> None:
    assert unreadable(pair(12)[0], pair(13)[1]) == [("12", "13")]
    assert unreadable(b'{"index":{"_id":1', pair(12)[1]) == [(), None]
    assert unreadable(b'{"index":{"_id":1', pair(12, "legacy")[1]) == [(), ()]
    assert unreadable(b'{"index":{}}', pair(12, "legacy")[1]) == [()]


def test_a_page_that_is_left_out_on_purpose_was_read() -> None:
    assert unreadable(*pair(12, namespace=4)) == [None]
    assert unreadable(*pair(12, page_type="redirect", text="")) == [None]
    assert unreadable(*pair(12, text=" ")) == [None]


def test_a_field_that_cannot_be_read_leaves_no_page_out_on_purpose() -> None:
    rules = DocumentRules(categories=frozenset({"made-up pages"}), min_popularity=0.5, namespaces=frozenset({14}))
    reader = DocumentReader("enwiki", "20261115", rules)
    good = {"namespace": 14, "category": ["Made-up pages"], "popularity_score": 0.7}
    for name in good:
        line = pair(12, **{**good, name: {"not": "this"}})[1]
        assert reader.read("", line, [], lost_action=True) == Rejected("bad_type"), name
