"""A reader of one version sees that version to its end, or ends and says why it could not."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import TryAgain, UsageError
from pipeline.settings import TableSettings
from sinks import clean_up as cleaning
from sinks import pinned as pinning
from sinks.clean_up import clean_up
from sinks.lease_folder import LeaseFolder, NoLeases
from sinks.leases import MAX_SECONDS, Lease, version_times
from sinks.pinned import LIFE_S, HeldLease, PinnedReader, pinned
from sinks.verify.rows import batches
from tests.tables import embedded, new_table

AT_ONCE = timedelta(0)

pytestmark = pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0")


class Writer:
    """A table, and a writer that replaces all its pages and cleans up."""

    def __init__(self, folder: Path) -> None:
        self.table = new_table(folder)
        self.place = folder / "wikipedia.leases"
        self.settings = TableSettings(lance_uri=str(folder))
        self._offset = 0
        self.goes_on(1)

    def goes_on(self, merges: int = 3, share: float = 1) -> None:
        for _ in range(merges):
            self._offset += 1
            self.table.write([embedded(f"w:{n}", self._offset, 30) for n in range(200)], {0: self._offset})
        clean_up(self.table.lance, AT_ONCE, share)

    def leases(self) -> list[Lease]:
        return [msgspec.json.decode(path.read_bytes(), type=Lease) for path in self.place.glob("*.json")]


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(cleaning, "MARGIN_S", 0.05)
    monkeypatch.setattr(cleaning, "MIN_BYTES", 0)
    return Writer(tmp_path)


def versions_read(reader: PinnedReader, writer: Writer, **goes_on: float) -> set[int]:
    """Versions of the rows that a scan gives, while the writer goes on in its midst."""
    found: set[int] = set()
    for number, batch in enumerate(batches(reader, ["source", "vector"])):
        if number == 0:
            writer.goes_on(**goes_on)  # type: ignore[arg-type]
        found.update(batch["source"].to_pylist())
    return found


def test_a_pinned_reader_sees_one_version_beside_a_writer_that_cleans_up(writer: Writer) -> None:
    with pinned(writer.settings, "test") as reader:
        assert versions_read(reader, writer, share=100) == {1}
        assert versions_read(reader, writer, share=100) == {1}
        assert reader.read(lambda lance: lance.count_rows("source = 1")) == 6_000
        [lease] = writer.leases()
        assert (lease.version, lease.holder.startswith("test on ")) == (reader.version, True)
        assert 0 < lease.expires - time.time() <= LIFE_S
    assert writer.leases() == []
    writer.goes_on()
    assert len(version_times(writer.table.lance)) == 1


def test_without_a_right_to_write_leases_it_ends_and_says_so(writer: Writer) -> None:
    writer.place.write_text("no folder")
    with pinned(writer.settings, "test") as reader:
        assert reader.live_rows() == 6_000
        writer.place.unlink()
        writer.goes_on()
        with pytest.raises(TryAgain, match=r"version \d+.* was removed meanwhile: this user could not write a lease"):
            list(batches(reader, ["source"]))
        with pytest.raises(TryAgain, match=r"version \d+.* was removed meanwhile: this user could not write a lease"):
            reader.read(lambda lance: lance.search().where("n >= 0").to_arrow())


def test_a_lease_that_the_writer_has_ended_is_told_and_not_taken_again(writer: Writer) -> None:
    with pinned(writer.settings, "test") as reader:
        writer.goes_on(share=0)
        assert writer.leases() == []
        assert not reader.lease.renew()
        with pytest.raises(TryAgain, match="the sink has ended the lease on it"):
            list(batches(reader, ["source"]))
        assert writer.leases() == []


def test_a_lease_is_renewed_and_ends_after_a_day_all_the_same(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = HeldLease(writer.table.location, 1, 1.0, "test")
    lease.take()
    [first] = writer.leases()
    start = time.time()
    monkeypatch.setattr(pinning.time, "time", lambda: start + 1_800)
    assert lease.renew()
    assert [found.expires for found in writer.leases()] == [pytest.approx(first.expires + 1_800, abs=60)]
    monkeypatch.setattr(pinning.time, "time", lambda: start + MAX_SECONDS - 60)
    assert not lease.renew()
    assert [found.expires for found in writer.leases()] == [pytest.approx(start + MAX_SECONDS, abs=60)]
    assert "24 hours" in lease.lost
    lease.give_back()


def test_a_lease_that_cannot_be_renewed_for_a_moment_is_tried_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise NoLeases("503 slow down")

    lease = HeldLease(writer.table.location, 1, 1.0, "test")
    lease.take()
    with monkeypatch.context() as storage:
        storage.setattr(LeaseFolder, "write", away)
        assert lease.renew()
        assert "could not be renewed (503" in lease.lost
    assert lease.renew()
    assert lease.lost == ""
    lease.give_back()
    assert writer.leases() == []


def test_a_version_that_goes_before_it_is_held_is_left_for_the_newest(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = HeldLease.take, []

    def late(lease: HeldLease) -> None:
        if not taken:
            writer.goes_on()
        taken.append(lease)
        real(lease)

    monkeypatch.setattr(HeldLease, "take", late)
    with pinned(writer.settings, "test") as reader:
        assert reader.read(lambda lance: lance.count_rows("source = 4")) == 6_000
        assert len(writer.leases()) == 1
    assert len(taken) == 2


def test_without_a_table_it_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table"), pinned(TableSettings(lance_uri=str(tmp_path)), "test"):
        pass
