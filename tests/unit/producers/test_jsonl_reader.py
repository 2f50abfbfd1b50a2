"""JSON Lines become pages: whatever is wrong with a line costs that line, and is counted."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.records import Page
from producers.account import Ledger
from producers.bytes.blocks import Damaged
from producers.bytes.kinds import mismatch
from producers.bytes.lines import BEGINNING, Position
from producers.jsonl import JSONL_NAMES, JsonlReader, JsonlSettings, check_fields
from producers.run.shards import find_shards
from tests.reading import Counted, Passed, shard_of

SETTINGS = JsonlSettings()


def record(number: int, **fields: object) -> bytes:
    own = {"id": f"d{number}", "title": f"Title {number}", "text": f"The text of {number}. Ä€😀"}
    return json.dumps(own | fields, ensure_ascii=False).encode()


def reader_of(
    path: Path, start: Position = BEGINNING, ledger: Ledger | None = None, settings: JsonlSettings = SETTINGS
) -> Counted:
    return Counted(JsonlReader(shard_of(path), settings), start, ledger)


def passed(reader: Counted) -> list[Passed]:
    return list(reader.read())


def pages(path: Path, settings: JsonlSettings = SETTINGS) -> tuple[list[Page], Ledger]:
    reader = reader_of(path, settings=settings)
    return [entry.page for entry in passed(reader) if entry.page is not None], reader.ledger


def written(path: Path, lines: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def ids(found: Sequence[Page]) -> list[str]:
    return [page.page_id for page in found]


def test_every_record_becomes_a_page_however_the_file_is_packed(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.jsonl", [record(n) for n in range(50)])
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "a.ndjson.bz2").write_bytes(bz2.compress(plain.read_bytes()))
    expected, ledger = pages(plain)
    assert ids(expected) == [f"d{n}" for n in range(50)]
    assert ledger == Ledger(lines=50, read=50, produced=50)
    for name in ("a.ndjson.gz", "a.ndjson.bz2"):
        assert pages(tmp_path / name) == (expected, ledger)


def test_what_is_wrong_with_a_line_is_counted_and_costs_no_neighbour(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbf" + record(0),
        b"",
        b"{not json",
        b"[1, 2]",
        record(1, text=5),
        record(2, id=None),
        record(3, text="  "),
        record(4, id="a\x00b"),
        record(5, text="y" * 3_000),
        b'{"id": 6, "text": "half of \\ud83d a pair"}',
        b'{"id": 7, "text": "no \xff UTF-8"}',
        b'{"id": 8, "text": 1e999}',
        b"[" * 100_000,
        record(9, title=[]),
        record(9, text="again"),
        b" \r",
        record(10),
    ]
    found, ledger = pages(written(tmp_path / "a.jsonl", lines), JsonlSettings(max_line_bytes=2_000))
    assert ids(found) == ["d0", "6", "7", "d9", "d9", "d10"]
    assert [page.text for page in found[1:3]] == ["half of � a pair", "no � UTF-8"]
    assert ledger.dropped == {"bad_type": 1, "missing_id": 1, "empty": 1, "bad_id": 1, "missing_text": 1}
    assert ledger.malformed == {"not_json": 1, "not_an_object": 1, "line_too_long": 2}
    assert ledger.mended == {"text_encoding": 2, "title": 1, "duplicate_id": 1}
    assert (ledger.lines, ledger.blank) == (17, 2)


def test_reading_goes_on_at_any_place_it_was_broken_off(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [record(0), b"", b"garbage", record(1), record(2, id=None), record(3)])
    whole_reader = reader_of(path)
    whole = passed(whole_reader)
    for place, entry in enumerate(whole):
        first = reader_of(path)
        for _ in zip(range(place + 1), first.read(), strict=False):
            pass
        second = reader_of(path, entry.after, first.ledger)
        assert passed(second) == whole[place + 1 :]
        assert second.ledger == whole_reader.ledger
    assert whole[-1].after == Position(6, path.stat().st_size)


def test_a_cut_off_file_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(b"".join(record(n, text=str(n) * (n + 1)) + b"\n" for n in range(1_000)))
    path.write_bytes(packed[: len(packed) // 2])
    reader = reader_of(path)
    found: list[Passed] = []
    with pytest.raises(Damaged, match="middle of a compressed stream"):
        found.extend(reader.read())
    assert 0 < len(found) == reader.ledger.produced < 1_000


@given(
    count=st.integers(1, 12),
    garbled=st.dictionaries(st.integers(0, 11), st.binary(max_size=60).filter(lambda b: b"\n" not in b), max_size=5),
)
def test_a_garbled_line_loses_at_most_itself_and_the_ledger_balances(
    tmp_path_factory: pytest.TempPathFactory, count: int, garbled: dict[int, bytes]
) -> None:
    lines = [garbled.get(n, record(n)) for n in range(count)]
    assume(not mismatch("garbled.jsonl", b"\n".join(lines), inside=False))  # as a whole it is a file of another kind
    path = written(tmp_path_factory.getbasetemp() / "garbled.jsonl", lines)
    found, ledger = pages(path)
    untouched = [f"d{n}" for n in range(count) if n not in garbled]
    assert [i for i in ids(found) if i in untouched] == untouched
    assert ledger.lines == count
    assert ledger.read + ledger.blank == count


@given(number=st.integers(0, 200), byte=st.integers(0, 255))
def test_one_flipped_byte_loses_at_most_one_record(
    tmp_path_factory: pytest.TempPathFactory, number: int, byte: int
) -> None:
    whole = b"".join(record(n) + b"\n" for n in range(4))
    place = number % len(whole)
    path = tmp_path_factory.getbasetemp() / "flipped.jsonl"
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    found, ledger = pages(path)
    # A newline lost or won joins or parts two lines: then it is at most the two that it touches.
    assert len(set(ids(found)) & {"d0", "d1", "d2", "d3"}) >= (2 if whole[place : place + 1] == b"\n" else 3)
    assert ledger.balanced


def test_a_folder_means_its_json_lines_and_a_plain_json_file_must_be_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.ndjson.gz", "c.json", "d.json.bz2", "e.txt"):
        (tmp_path / name).touch()
    assert [shard.name for shard in find_shards([str(tmp_path)], JSONL_NAMES)] == ["a.jsonl", "b.ndjson.gz"]
    assert [shard.name for shard in find_shards([str(tmp_path / "c.json")], JSONL_NAMES)] == ["c.json"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"id_field": "nr"},
            r"no nr in its first 2 records; they have id, title, text, meta\.by: choose with --id-field$",
        ),
        ({"text_fields": "body,summary"}, "no body or summary in .* --text-fields"),
        ({"id_field": "nr", "text_fields": "body"}, "no nr and no body .* --id-field and --text-fields"),
        ({"preset": "arxiv"}, "no abstract in"),
    ],
)
def test_a_field_that_is_nowhere_is_wrong_use_and_the_fields_there_are_are_named(
    tmp_path: Path, flags: dict[str, str], said: str
) -> None:
    path = written(tmp_path / "a.jsonl", [b"garbage", record(1), record(2, meta={"by": "Ada"})])
    with pytest.raises(UsageError, match=said) as error:
        check_fields(path, JsonlSettings(**flags).mapping, 10_000)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("whole", [b'[{"id": 1, "text": "x"}]', b'[\n{"id": 1},\n{"id": 2}\n]', b'{\n"id": 1\n}'])
def test_json_that_is_not_a_record_a_line_is_wrong_use_with_a_way_out(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(whole)
    with pytest.raises(UsageError, match="jq -c"):
        check_fields(path, SETTINGS.mapping, 10_000)


def test_a_good_file_an_empty_one_and_one_of_garbage_are_left_to_the_reader(tmp_path: Path) -> None:
    for lines in ([record(1), b"[garbage"], [], [b"garbage"]):
        check_fields(written(tmp_path / "a.jsonl", lines), SETTINGS.mapping, 10_000)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(b"not gzip")
    check_fields(packed, SETTINGS.mapping, 10_000)


def test_a_wrong_field_costs_itself_and_not_its_record(tmp_path: Path) -> None:
    lines = [
        b'{"id": 1.0, "text": "An id as a column with gaps has it.", "area": NaN}',
        b'{"id": 2.5, "text": "No whole number."}',
        b'{"id": "3", "text": "A number that is too long.", "big": ' + b"9" * 5_000 + b"}",
        b'{"id": 4, "text": "Objects.", "categories": [{"name": "Category:Weirs"}, {"url": "x"}, "Ponds"]}',
        b'{"id": 5, "text": "A year of three digits.", "timestamp": "0987-06-05T04:03:02+00:00"}',
    ]
    found, ledger = pages(written(tmp_path / "a.jsonl", lines))
    assert ids(found) == ["1", "3", "4", "5"]
    assert found[2].categories == ("Weirs", "Ponds")
    assert [page.metadata for page in found] == ["", "", "", ""]
    assert ledger.dropped == {"bad_type": 1}
    assert ledger.mended == {"bad_number": 2, "categories": 1}


def test_folders_with_a_name_and_a_value_are_fields_of_the_records_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "run=3" / "data" / "language=de" / "place=R%C3%BCgen"
    folder.mkdir(parents=True)
    lines = [b'{"id": 1, "text": "a"}', b'{"id": 2, "text": "b", "language": "nds", "place": null}']
    found, _ = pages(written(folder / "part-0.jsonl", lines))
    assert [page.language for page in found] == ["de", "nds"]
    assert [page.metadata for page in found] == ['{"place":"Rügen"}', ""]


def test_one_record_that_is_cut_off_is_for_its_reader_to_tell_and_stops_no_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 7, "text": "cut')
    check_fields(path, SETTINGS.mapping, 10_000)
