"""A page that a dump had and `pages` never got is found, and only such a page."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.manifests import Manifest, manifest_parts, sorted_entries
from sinks.verify.manifests import manifest_check
from sinks.verify.pages import newest_pages


class Record(NamedTuple):
    """As a consumer gives it."""

    key: bytes
    value: bytes | None
    partition: int = 0
    offset: int = 0


def manifest(*ids: int, snapshot: str = "20261115", topic: str = "pages-id", content: int = 5) -> list[Record]:
    arrays = (np.array(ids, np.uint64), np.full(len(ids), content, np.uint64), np.zeros(len(ids), np.uint64))
    blank = Manifest(
        wiki="enwiki", snapshot=snapshot, shard=f"cirrus/enwiki/{snapshot}/x", options="", pages_topic=topic
    )
    return [Record(p.key, msgspec.msgpack.encode(p)) for p in manifest_parts(sorted_entries(*arrays), blank)]


PAGES = newest_pages(
    [Record(b"enwiki:1", b"x", 0, 0), Record(b"enwiki:2", None, 0, 1), Record(b"dewiki:3", b"x", 0, 2)]
)


def test_pages_that_were_sent_are_there_deleted_or_not() -> None:
    check = manifest_check(manifest(1, 2), PAGES, "pages-id")
    assert check.verdict == "ok"
    assert check.figures == "2 pages of enwiki 20261115, each in pages"


def test_a_page_that_was_never_sent_fails_the_check_by_its_id() -> None:
    check = manifest_check(manifest(1, 3), PAGES, "pages-id")
    assert (check.verdict, check.problems) == ("failed", 1)
    assert check.examples == ("enwiki:3 of 20261115 was never sent",)


def test_older_snapshots_forgotten_ones_and_those_of_another_topic_do_not_count() -> None:
    gone = [*manifest(7, snapshot="20261201"), Record(b"manifest/cirrus/enwiki/20261201/x/0", None)]
    garbage = Record(b"manifest/cirrus/enwiki/20261115/x/1", b"garbage")
    records = [*manifest(8, snapshot="20261101"), *manifest(1), *gone, garbage]
    assert manifest_check(records, PAGES, "pages-id").verdict == "ok"
    assert "none" in manifest_check(manifest(9, topic="another"), PAGES, "pages-id").figures


def test_a_page_that_kafka_refused_for_its_size_is_not_lost() -> None:
    assert manifest_check(manifest(50, content=0), PAGES, "pages-id").verdict == "ok"


def test_without_manifests_there_is_nothing_to_compare() -> None:
    assert "none" in manifest_check([], PAGES, "pages-id").figures
