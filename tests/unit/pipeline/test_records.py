"""Records: what one stage writes, another reads; what is wrong is told apart from what is newer."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import (
    MAX_AHEAD,
    SCHEMA_VERSION,
    Chunk,
    ChunkedPage,
    EmbeddedPage,
    Page,
    SchemaTooNew,
    Source,
    Span,
    Undecodable,
    UnknownSchema,
    decode,
    encode,
    text_hash,
    utc_timestamp,
    valid_page_id,
    valid_wiki,
)
from tests import older

PAGE = Page(
    wiki="enwiki", page_id="12", title="Anarchism", text="A text. 東京", aliases=("Anarchy",), popularity_score=0.5
)
SOURCE = Source("topic-id", 3, 41)
RECORDS = (
    PAGE,
    ChunkedPage(key=PAGE.key, source=SOURCE, page=PAGE, chunks=(Chunk(0, 0, 7, b"\x01\x00"),)),
    ChunkedPage(key=PAGE.key, source=SOURCE, page=None),
    EmbeddedPage(key=PAGE.key, source=SOURCE, page=PAGE, spans=(Span(0, 0, 7),), dimension=2, vectors=bytes(8)),
    EmbeddedPage(key=PAGE.key, source=SOURCE, page=None),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: Page | ChunkedPage | EmbeddedPage) -> None:
    assert decode(encode(record), type(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_cut_off_bytes_are_poison(record: Page | ChunkedPage | EmbeddedPage) -> None:
    data = encode(record)
    for end in range(0, len(data), 7):
        with pytest.raises(Undecodable):
            decode(data[:end], type(record))


def test_a_newer_schema_is_fatal_and_never_poison() -> None:
    newer = msgspec.msgpack.encode({"schema": SCHEMA_VERSION + 1, "a field of the future": 1})
    with pytest.raises(SchemaTooNew, match=rf"schema {SCHEMA_VERSION + 1}.*upgrade"):
        decode(newer, Page)


def test_a_newer_schema_with_all_of_todays_fields_is_fatal_too() -> None:
    with pytest.raises(SchemaTooNew):
        decode(encode(msgspec.structs.replace(PAGE, schema=SCHEMA_VERSION + 1)), Page)


def test_the_oldest_readers_take_records_that_name_the_version(tmp_path: Path) -> None:
    """8c9e2ef has no such field: it reads all others."""
    named = [msgspec.structs.replace(record, cirrostream="9.9.9") for record in RECORDS]
    program = (
        "import msgspec, sys; from pipeline import records\n"
        "for kind, data in msgspec.msgpack.decode(sys.stdin.buffer.read()):\n"
        "    print(records.decode(data, getattr(records, kind)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=msgspec.msgpack.encode([(type(record).__name__, encode(record)) for record in named]),
        env=older.environment(older.unpack(tmp_path)),
        capture_output=True,
        check=True,
        timeout=60,
    )
    read = done.stdout.decode().splitlines()
    assert [line.partition("(")[0] for line in read] == [type(record).__name__ for record in RECORDS]
    assert all("cirrostream" not in line for line in read)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_raise_undecodable(data: bytes) -> None:
    for kind in (Page, ChunkedPage, EmbeddedPage):
        with contextlib.suppress(Undecodable, SchemaTooNew):
            decode(data, kind)


def test_vectors_must_fit_the_spans() -> None:
    record = encode(RECORDS[3]).replace(b"\xa9dimension\x02", b"\xa9dimension\x03")
    with pytest.raises(Undecodable, match="vectors have 8 bytes"):
        decode(record, EmbeddedPage)


@pytest.mark.parametrize("wiki", ["enwiki", "zh-min-nan", "be_x_oldwiki", "arxiv"])
def test_names_of_wikis_are_valid(wiki: str) -> None:
    assert valid_wiki(wiki)


@pytest.mark.parametrize("wiki", ["", "EnWiki", "en wiki", "en'wiki", "../x", "a" * 65, "enwiki\n"])
def test_what_could_become_sql_or_a_path_is_no_wiki(wiki: str) -> None:
    assert not valid_wiki(wiki)
    with pytest.raises(Undecodable):
        decode(encode(msgspec.structs.replace(PAGE, wiki=wiki)), Page)


@pytest.mark.parametrize("page_id", ["", "a\x00b", "a\nb", "x" * 257])
def test_control_characters_and_endless_ids_are_refused(page_id: str) -> None:
    assert not valid_page_id(page_id)
    with pytest.raises(Undecodable):
        decode(encode(msgspec.structs.replace(PAGE, page_id=page_id)), Page)


def test_the_hash_tells_title_from_text() -> None:
    assert text_hash("ab", "c") != text_hash("a", "bc")
    assert text_hash("a", "b\ud800") == text_hash("a", "b\ud800")


@pytest.mark.parametrize("field", ["chunks_offset", "embedded_at"])
def test_a_record_of_8c9e2ef_lacks_what_was_added_since(field: str) -> None:
    today = msgspec.msgpack.decode(encode(RECORDS[3]))
    del today[field]
    assert getattr(decode(msgspec.msgpack.encode(today), EmbeddedPage), field) is None


@pytest.mark.parametrize("schema", [-5, 0, SCHEMA_VERSION + MAX_AHEAD + 1])
def test_a_schema_that_no_release_has_is_poison(schema: int) -> None:
    for data in (encode(msgspec.structs.replace(PAGE, schema=schema)), msgspec.msgpack.encode({"schema": schema})):
        with pytest.raises(UnknownSchema, match="which no release has"):
            decode(data, Page)


def test_a_year_before_1000_has_four_digits_in_a_timestamp() -> None:
    assert utc_timestamp(datetime.fromisoformat("0476-09-04T12:00:00.5+01:00")) == "0476-09-04T11:00:00Z"
    with pytest.raises(OverflowError):
        utc_timestamp(datetime.fromisoformat("0001-01-01T00:00:00+01:00"))
