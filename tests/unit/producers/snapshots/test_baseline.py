"""The union of manifests: the newer over the older, found by id, whatever they were cut into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.manifests import Entries, sorted_entries
from producers.snapshots import baseline
from producers.snapshots.baseline import Baseline, BaselineWriter

IDS = st.dictionaries(st.integers(0, 400), st.integers(1, 9), max_size=60)


def entries(pages: dict[int, int]) -> Entries:
    ids, content = (np.array(list(part), np.uint64) for part in (pages.keys(), pages.values()))
    return sorted_entries(ids, content, content)


def written(folder: Path, manifests: list[dict[int, int]]) -> Baseline:
    folder.mkdir(parents=True)
    writer = BaselineWriter(folder)
    for rank, pages in enumerate(manifests):
        writer.put(str(rank), (rank, 0), entries(pages))
    return writer.finish()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(manifests=st.lists(IDS, max_size=6), other=IDS, rows=st.sampled_from([64, 500_000]))
def test_the_newest_manifest_of_a_page_counts(
    manifests: list[dict[int, int]],
    other: dict[int, int],
    rows: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baseline, "RANGE_PAGES", rows)
    folder = tmp_path_factory.mktemp("baseline")
    union = {page: content for pages in manifests for page, content in pages.items()}
    found, second = written(folder / "a", manifests), written(folder / "b", [other])
    assert {page: known[0] for page in range(410) if (known := found.find(page))} == union
    lacking = [int(page) for ids in found.without(second) for page in ids]
    assert lacking == sorted(union.keys() - other.keys())


def test_a_shard_that_was_read_again_counts_as_it_is_now_and_a_forgotten_one_not_at_all(tmp_path: Path) -> None:
    writer = BaselineWriter(tmp_path)
    writer.put("shard", (0, 0), entries({1: 5, 2: 5}))
    writer.put("other", (1, 0), entries({9: 9}))
    writer.put("shard", (0, 0), entries({2: 6}))
    writer.drop("other")
    found = writer.finish()
    assert (found.find(1), found.find(2), found.find(9)) == (None, (6, 6), None)
    assert list(tmp_path.glob("part-*")) == []


def test_nothing_at_all_is_a_baseline_too(tmp_path: Path) -> None:
    found = BaselineWriter(tmp_path).finish()
    assert len(found) == 0
    assert found.find(1) is None
