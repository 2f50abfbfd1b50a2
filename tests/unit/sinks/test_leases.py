"""Leases: what holds a version, what holds nothing, and what the writer's clean-up makes of them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.metrics import Metrics
from sinks import clean_up as cleaning
from sinks.clean_up import clean_up
from sinks.lease_folder import MAX_BYTES, MAX_FILES, LeaseFile, LeaseFolder, NoLeases
from sinks.leases import MAX_SECONDS, Lease, encode_lease, leases_of, version_times
from sinks.table import Table
from sinks.upkeep import State, Upkeep, UpkeepRules, UpkeepStep, due
from tests.tables import embedded, new_table

NOW = 1_800_000_000.0
VERSIONS = {3: NOW - 500, 4: NOW - 100}
SOUND = Lease(version=3, time=NOW - 500, expires=NOW + 60, holder="verify")
AT_ONCE = timedelta(0)

pytestmark = pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0")


def file(data: bytes | None, modified: float = NOW) -> LeaseFile:
    return LeaseFile(f"{0:016x}.json", modified, data)


def changed(**changes: object) -> LeaseFile:
    return file(encode_lease(msgspec.structs.replace(SOUND, **changes)))


def test_leases_hold_the_oldest_version_first() -> None:
    young = Lease(version=4, time=NOW - 100, expires=NOW + 60)
    found = leases_of([file(encode_lease(young)), file(encode_lease(SOUND))], VERSIONS, NOW)
    assert [held.lease for held in found.held] == [SOUND, young]
    assert (found.oldest, found.void) == (NOW - 500, [])


@pytest.mark.parametrize(
    ("void", "why"),
    [
        (changed(expires=NOW), "expired"),
        (file(encode_lease(SOUND), NOW - MAX_SECONDS), "expired"),
        (changed(expires=NOW + MAX_SECONDS + 3_600), "more than 24 hours"),
        (changed(expires=1e308), "more than 24 hours"),
        (file(encode_lease(SOUND), NOW + 3_600), "written in the future"),
        (changed(version=5), "no such version"),
        (changed(version=-1), "no such version"),
        (changed(time=NOW + 9_999), "no such version"),
        (changed(time=0.0), "no such version"),
        (file(None), "larger than"),
        (file(b""), "not a lease"),
        (file(b"\xff\xfe{}"), "not a lease"),
        (file(b"[" * 2_000), "not a lease"),
        (file(b'{"version":3,"time":1e999,"expires":1}'), "odd"),
        (file(b'{"version":' + b"9" * 3_000 + b',"time":1,"expires":1800000009}'), "odd"),
        (file(b'{"version":3,"time":1}'), "not a lease"),
        (file(b'{"version":"3","time":1,"expires":1}'), "not a lease"),
    ],
)
def test_what_is_no_lease_of_this_table_holds_nothing(void: LeaseFile, why: str) -> None:
    found = leases_of([void], VERSIONS, NOW)
    assert found.held == []
    assert why in found.void[0][1]


class Shelf:
    """A table whose every merge makes a version, and the leases beside it."""

    def __init__(self, folder: Path) -> None:
        self.table: Table = new_table(folder)
        self.folder = LeaseFolder(self.table.location)
        self.place = folder / "wikipedia.leases"
        self._offset = 0

    def merge(self, times: int = 1) -> int:
        """Replaces the same pages, and gives the newest version."""
        for _ in range(times):
            self._offset += 1
            self.table.write([embedded(f"w:{n}", self._offset, 5) for n in range(40)], {0: self._offset})
        return int(self.table.lance.version)

    def lease(self, version: int, name: int = 0) -> str:
        """A lease on a version, and its file's name."""
        times = version_times(self.table.lance)
        lease = Lease(version=version, time=times[version], expires=time.time() + 600, holder="test")
        self.folder.write(f"{name:016x}.json", encode_lease(lease))
        return f"{name:016x}.json"

    def versions(self) -> set[int]:
        return set(version_times(self.table.lance))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(cleaning, "MARGIN_S", 0.05)
    return Shelf(tmp_path)


def test_a_version_with_a_lease_survives_the_clean_up_and_goes_when_the_lease_does(shelf: Shelf) -> None:
    version = shelf.merge()
    name = shelf.lease(version)
    shelf.merge(3)
    done = clean_up(shelf.table.lance, AT_ONCE, share=1)
    assert version in shelf.versions()
    assert (done.leases, done.bytes > 0, done.ended) == (1, True, [])
    shelf.folder.remove(name)
    assert clean_up(shelf.table.lance, AT_ONCE, share=1).leases == 0
    assert shelf.versions() == {int(shelf.table.lance.version)}


def test_leases_that_hold_too_much_are_ended_the_oldest_version_first(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "MIN_BYTES", 0)
    old, young = (shelf.lease(shelf.merge(6), name) for name in (1, 2))
    kept = int(shelf.table.lance.version)
    shelf.merge()
    done = clean_up(shelf.table.lance, AT_ONCE, share=4)
    assert [held.file for held in done.ended] == [old]
    assert kept in shelf.versions()
    assert (shelf.folder.has(old), shelf.folder.has(young)) == (False, True)
    assert clean_up(shelf.table.lance, AT_ONCE, share=0).leases == 0
    assert shelf.versions() == {int(shelf.table.lance.version)}


def test_void_files_are_removed_after_an_hour_and_nothing_else_is(shelf: Shelf) -> None:
    shelf.lease(shelf.merge(), 1)
    for name in ("0000000000000002.json", "0000000000000003.json", "README"):
        (shelf.place / name).write_bytes(b"x" * (MAX_BYTES + 1))
    for name in ("0000000000000003.json", "README"):
        os.utime(shelf.place / name, (1, 1))
    assert [name for name, _ in clean_up(shelf.table.lance, AT_ONCE, share=1).void] == ["0000000000000003.json"]
    assert sorted(path.name for path in shelf.place.iterdir()) == [
        "0000000000000001.json",
        "0000000000000002.json",
        "README",
    ]


def test_of_many_files_the_youngest_are_looked_at(shelf: Shelf) -> None:
    version = shelf.merge()
    for name in range(MAX_FILES + 6):
        shelf.lease(version, name)
        os.utime(shelf.place / f"{name:016x}.json", (NOW + name, NOW + name))
    assert {found.modified for found in shelf.folder.files()} == {NOW + name for name in range(6, MAX_FILES + 6)}


def test_neither_a_pipe_nor_a_folder_of_a_leases_name_stops_the_writer(shelf: Shelf) -> None:
    shelf.lease(shelf.merge(), 1)
    os.mkfifo(shelf.place / f"{2:016x}.json")
    (shelf.place / f"{3:016x}.json").mkdir()
    assert [found.name for found in shelf.folder.files()] == [f"{1:016x}.json"]


def test_where_leases_cannot_be_read_versions_are_kept_as_long_as_one_could_hold(shelf: Shelf) -> None:
    shelf.merge(3)
    shelf.place.write_text("a file where the folder should be")
    before = shelf.versions()
    done = clean_up(shelf.table.lance, AT_ONCE, share=1)
    assert done.unreadable
    assert before <= shelf.versions()


def test_a_place_that_arrow_does_not_know_has_no_leases() -> None:
    with pytest.raises(NoLeases):
        LeaseFolder("ftp://somewhere/wikipedia.lance")


@pytest.mark.parametrize("step", [UpkeepStep.OPTIMIZE, UpkeepStep.GAUGES])
def test_upkeep_says_how_many_leases_hold_how_much(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: UpkeepStep
) -> None:
    monkeypatch.setattr("sinks.upkeep.steps.KEEP_VERSIONS", AT_ONCE)
    metrics = Metrics("lance")
    care = Upkeep(shelf.table, UpkeepRules(), metrics)
    shelf.lease(shelf.merge())
    shelf.merge(2)
    shelf.merge(2)
    care.do(step)
    labels = {"stage": "lance"}
    assert metrics.registry.get_sample_value("cirrostream_table_leases", labels) == 1
    assert (metrics.registry.get_sample_value("cirrostream_table_leased_bytes", labels) or 0) > 0


def test_the_clean_up_is_due_again_while_leases_hold_versions() -> None:
    quiet = State(changed=0, optimized=0, swept=0, measured=1)
    assert due(replace(quiet, leases=1), UpkeepRules(), 900) == UpkeepStep.OPTIMIZE
    assert due(quiet, UpkeepRules(), 900) is None
