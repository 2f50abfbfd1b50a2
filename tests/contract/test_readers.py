"""The contract of a source's reader (`producers/reader.py`), held by the reader of every format."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.errors import UsageError
from pipeline.records import Page, decode, encode, valid_wiki
from pipeline.rejected import Rejected
from producers.account import Ledger
from producers.bytes.blocks import Damaged
from producers.bytes.lines import BEGINNING, Position
from producers.reader import DocumentReader, Entry
from tests.contract.files import BLANK, FORMATS, REJECTED, FileFormat, Item
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("kind", FORMATS, ids=str)

ITEMS: tuple[Item, ...] = (1, 2, REJECTED, 3, BLANK, BLANK, 4, REJECTED, 5, 6, BLANK)
MANY: tuple[Item, ...] = tuple(range(1, 401))


class Stopped(Exception):
    """What a runner's tick raises when reading is to end."""


def no_tick() -> None:
    """Goes on."""


def entries(reader: DocumentReader, start: Position = BEGINNING) -> list[Entry]:
    return list(reader.read(start, no_tick))


def read(kind: FileFormat, path: Path, start: Position = BEGINNING) -> list[Entry]:
    return entries(kind.reader(path), start)


def pages(found: list[Entry]) -> list[Page]:
    return [entry.page for entry in found if isinstance(entry.page, Page)]


def said(found: list[Entry]) -> list[object]:
    """All that must be the same wherever reading began; notes on what else stood in the file may differ."""
    return [(entry.after, entry.page, entry.lines, entry.blank) for entry in found]


def numbers(found: list[Entry]) -> list[int]:
    return [int(page.page_id) for page in pages(found)]


def until_error(kind: FileFormat, path: Path) -> tuple[list[Entry], Damaged | UsageError | None]:
    """What is given out, and the error of ours that it ends with."""
    found: list[Entry] = []
    try:
        found.extend(kind.reader(path).read(BEGINNING, no_tick))
    except (Damaged, UsageError) as error:
        return found, error
    return found, None


def test_the_pages_of_a_file_come_in_its_order_each_once(kind: FileFormat, tmp_path: Path) -> None:
    found = read(kind, kind.write(tmp_path, MANY))
    assert numbers(found) == kind.items(MANY)
    for page in pages(found):
        assert decode(encode(page), Page) == page
        assert valid_wiki(page.wiki)
    assert len({page.key for page in pages(found)}) == len(kind.items(MANY))


def test_reading_goes_on_behind_any_entry_without_leaving_one_out_or_giving_one_twice(
    kind: FileFormat, tmp_path: Path
) -> None:
    path = kind.write(tmp_path, ITEMS)
    whole = read(kind, path)
    assert whole[0].after > BEGINNING
    positions = [entry.after for entry in whole]
    assert positions == sorted(set(positions)), "every entry is behind the one before"
    for number, entry in enumerate(whole, start=1):
        assert said(read(kind, path, entry.after)) == said(whole[number:])


def test_a_file_says_the_same_each_time(kind: FileFormat, tmp_path: Path) -> None:
    path = kind.write(tmp_path, ITEMS)
    assert read(kind, path) == read(kind, path)


def test_what_is_blank_is_told_from_what_is_rejected_and_neither_costs_a_neighbour(
    kind: FileFormat, tmp_path: Path
) -> None:
    items, found, ledger = kind.items(ITEMS), read(kind, kind.write(tmp_path, ITEMS)), Ledger()
    for entry in found:
        ledger.take(entry)
        assert ledger.balanced, entry
    assert numbers(found) == [item for item in items if isinstance(item, int)]
    rejected = [entry.page for entry in found if isinstance(entry.page, Rejected)]
    assert len(rejected) == items.count(REJECTED)
    assert all(one.reason.isidentifier() for one in rejected), "reasons are labels of a metric"
    assert ledger.read == len(items) - items.count(BLANK)
    assert ledger.blank == items.count(BLANK)


def test_a_file_of_nothing_but_blanks_has_no_entry_to_count(kind: FileFormat, tmp_path: Path) -> None:
    found = read(kind, kind.write(tmp_path, [BLANK, BLANK, BLANK]))
    assert not [entry for entry in found if entry.page is not None]
    assert sum(entry.blank for entry in found) == kind.items([BLANK] * 3).count(BLANK)


@pytest.mark.parametrize("share", [0.35, 0.7, 0.95])
def test_a_file_that_is_cut_off_gives_what_stands_before_and_nothing_else(
    kind: FileFormat, tmp_path: Path, share: float
) -> None:
    path = kind.write(tmp_path, MANY)
    whole, data = read(kind, path), path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    found, damage = until_error(kind, path)
    if kind.told_when_cut:
        assert isinstance(damage, Damaged)
        assert damage.kind == "cut off"
    else:
        found = found[:-1]  # what the last line was cut to
    assert said(found) == said(whole[: len(found)])
    path.write_bytes(data)
    goes_on = found[-1].after if found else BEGINNING
    assert said(read(kind, path, goes_on)) == said(whole[len(found) :]), "the same file, fetched again"


@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_ends_in_an_account_that_balances_or_is_told(
    kind: FileFormat, tmp_path: Path, seed: int
) -> None:
    draw, path = random.Random(seed), kind.write(tmp_path, MANY[:60])
    data = bytearray(path.read_bytes())
    for _ in range(3):
        at = draw.randrange(len(data))
        data[at : at + 8] = draw.randbytes(8)
    path.write_bytes(data)
    found, error = until_error(kind, path)
    assert error is None or str(error)
    positions = [entry.after for entry in found]
    assert positions == sorted(set(positions))
    ledger = Ledger()
    for entry in found:
        ledger.take(entry)
        assert ledger.balanced, entry


def test_an_empty_file_is_an_error_in_words_or_has_no_entry(kind: FileFormat, tmp_path: Path) -> None:
    path = tmp_path / kind.name
    path.write_bytes(b"")
    found, error = until_error(kind, path)
    assert not found
    assert error is None or str(error)


def test_the_tick_ends_reading(kind: FileFormat, tmp_path: Path) -> None:
    def tick() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        list(kind.reader(kind.write(tmp_path, MANY)).read(BEGINNING, tick))


def left_over(path: Path) -> Iterator[object]:
    """What a reader may have left behind: processes, and handles of its file."""
    own = psutil.Process()
    yield from (child for child in own.children() if child.status() != psutil.STATUS_ZOMBIE)
    yield from (file for file in own.open_files() if Path(file.path) == path)


def test_closed_early_it_leaves_neither_a_process_nor_an_open_file(kind: FileFormat, tmp_path: Path) -> None:
    path = kind.write(tmp_path, MANY)
    before = set(left_over(path))
    reading = kind.reader(path).read(BEGINNING, no_tick)
    first = next(iter(reading))
    assert isinstance(first.page, Page)
    reading.close()  # type: ignore[attr-defined]
    wait_until(lambda: set(left_over(path)) <= before, "nothing is left of it")


def test_it_says_how_far_it_has_read_up_to_the_whole_file(kind: FileFormat, tmp_path: Path) -> None:
    path = kind.write(tmp_path, MANY)
    reader = kind.reader(path)
    so_far = [reader.bytes_read for _ in reader.read(BEGINNING, no_tick)]
    assert so_far == sorted(so_far)
    assert reader.bytes_read == path.stat().st_size
