"""A snapshot that could not be read in full, or that is unlike the last one, ends nothing."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.errors import CheckFailed
from pipeline.records import Page
from producers.account import Ledger
from producers.run.progress import Progress, Shape, decode, encode
from producers.snapshots.completeness import refuse_unreadable
from producers.snapshots.manifest import UNKNOWN, ManifestBuilder
from producers.snapshots.shape import SnapshotShape


def shard(documents: int, redirects: int = 0, fields: dict[str, int] | None = None, unnamed: int = 0) -> Progress:
    pages = documents - redirects
    return Progress(
        run="r", shard="s", wiki="enwiki", snapshot="20261115", size=1, checksum="c", pages_topic="t", options="{}",
        ledger=Ledger(read=documents, produced=pages, dropped={"redirect": redirects}),
        finished=True,
        shape=Shape(pages=pages, unnamed=unnamed, fields={"aliases": pages} if fields is None else fields),
    )  # fmt: skip


LAST = SnapshotShape.of([shard(5_000, 500), shard(5_000, 500)])


def unlike(*shards: Progress, last: SnapshotShape = LAST) -> list[str]:
    return SnapshotShape.of(shards).unlike(last)


def test_a_week_later_a_snapshot_is_like_the_last() -> None:
    assert unlike(shard(10_100, 1_030)) == []
    assert unlike(shard(9_700, 930)) == []
    assert unlike(shard(9), last=SnapshotShape.of([shard(10)])) == []


def test_documents_that_are_far_fewer_or_far_more_are_said_with_both_figures() -> None:
    assert unlike(shard(8_000, 800)) == ["8,000 documents after 10,000"]
    assert unlike(shard(20_000, 2_000)) == ["20,000 documents after 10,000"]


def test_another_share_of_redirects_is_said() -> None:
    assert unlike(shard(10_000)) == ["0.0% of them redirects after 10.0%"]


def test_a_field_that_has_gone_or_come_is_said() -> None:
    assert unlike(shard(10_000, 1_000, fields={})) == ["aliases in 0.0% of the pages after 100.0%"]
    assert unlike(shard(10_000, 1_000, fields={"aliases": 9_000, "metadata": 9_000})) == [
        "metadata in 100.0% of the pages after 0.0%"
    ]


def test_shards_of_an_earlier_version_are_compared_by_what_they_have() -> None:
    old = msgspec.structs.replace(shard(10_000, 1_000), shape=None)
    assert unlike(shard(10_000, 1_000, fields={}), last=SnapshotShape.of([old])) == []
    assert unlike(shard(2_000, 200), last=SnapshotShape.of([old])) == ["2,000 documents after 10,000"]


def test_entries_that_may_be_any_page_are_refused_until_they_are_accepted() -> None:
    shards = {"cirrus/enwiki/20261115/a": shard(100, unnamed=2), "cirrus/enwiki/20261115/b": shard(100, unnamed=1)}
    with pytest.raises(CheckFailed, match=r"3 entries .* \(2 in a, 1 in b\).*--accept-unreadable 3"):
        refuse_unreadable("enwiki 20261115", shards, 2)
    refuse_unreadable("enwiki 20261115", shards, 3)


def test_an_earlier_versions_shard_has_no_ids_of_what_it_could_not_read() -> None:
    ledger = Ledger(read=9, produced=4, malformed={"not_json": 2}, dropped={"bad_type": 1, "redirect": 2})
    old = msgspec.structs.replace(shard(1), ledger=ledger, shape=None)
    with pytest.raises(CheckFailed, match=r"3 entries .*read it again, for an earlier version noted no ids"):
        refuse_unreadable("enwiki 20261115", {"x": old}, 0)


def test_progress_of_8c9e2ef_is_read_and_an_older_process_reads_todays() -> None:
    old = msgspec.to_builtins(shard(10))
    del old["shape"]
    found = decode(msgspec.msgpack.encode(old))
    assert found is not None
    assert (found.shape, found.ledger.read) == (None, 10)
    today = msgspec.msgpack.decode(encode(shard(10)))
    assert {**today, "shape": None} == {**old, "shape": None}


def test_a_manifest_has_what_could_not_be_read_as_there_with_unknown_content() -> None:
    builder = ManifestBuilder()
    builder.add_page(Page(wiki="w", page_id="3", title="T", text="x", aliases=("A",)), 7, 7)
    builder.add_unreadable(("1", "2"))
    builder.add_unreadable(())
    builder.add_unreadable(("no number",))
    entries = builder.entries()
    assert dict(zip(entries.ids.tolist(), entries.content.tolist(), strict=True)) == {1: UNKNOWN, 2: UNKNOWN, 3: 7}
    assert builder.shape == Shape(pages=1, unnamed=2, fields={"aliases": 1})
