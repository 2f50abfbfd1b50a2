"""Every shard arrives whole, however the server behaves, and the server has no reason to complain."""

from __future__ import annotations

import bz2
import contextlib
import errno
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import logs
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain, UsageError
from producers import dumps
from producers.bytes.kinds import edge_fault
from producers.fetch.downloads import MARGIN_BYTES, Downloads
from producers.fetch.http import HttpFiles
from producers.fetch.part_file import PartFile, is_whole, read_marker
from producers.fetch.progress import Rate
from producers.fetch.remote_file import Refused, RemoteFile, Version
from producers.fetch.retry import LONGEST_REST, rest_asked
from tests.dump_server import PAGE, DumpServer, Fault, QuickClock
from tests.waiting import wait_until

WIKI, DATE = "enwiki", "20261115"


def shard(number: int, size: int = 40_000) -> bytes:
    """Made text whose bz2 is about as large."""
    return bz2.compress(random.Random(number).randbytes(size))


@pytest.fixture
def server() -> Iterator[DumpServer]:
    with DumpServer() as server:
        yield server


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


class Download:
    """One run of downloads from the test's server."""

    def __init__(self, server: DumpServer, folder: Path, clock: QuickClock, stall_seconds: float = 5.0) -> None:
        self.server, self.folder, self.clock, self.stall_seconds = server, folder, clock, stall_seconds

    def downloads(self, paths: list[str], **options: object) -> Downloads:
        http = HttpFiles("test", self.stall_seconds, self.clock)
        files = [RemoteFile(self.server.address + path.replace("=", "%3D"), path) for path in paths]
        return Downloads(http, files, self.folder, **options)  # type: ignore[arg-type]

    def all(self, paths: list[str], **options: object) -> list[Path]:
        with self.downloads(paths, **options) as downloads:
            return list(downloads)

    def intact(self, paths: list[str]) -> bool:
        return all((self.folder / path).read_bytes() == self.server.files[path] for path in paths)


@pytest.fixture
def download(server: DumpServer, tmp_path: Path, clock: QuickClock) -> Download:
    return Download(server, tmp_path, clock)


def test_all_shards_arrive_from_a_server_that_does_everything_wrong(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(10)])
    download.stall_seconds = 0.3
    wrongs = [
        [Fault(close_after=15_000), Fault(close_after=15_000)],
        [Fault(status=429, headers={"Retry-After": "7"})],
        [Fault(status=503), Fault(status=500), Fault(status=502)],
        [Fault(stall_after=1_000)],
        [Fault(close_after=20_000), Fault(ranges=False)],
        [Fault(length=100_000)],
        [Fault(length=1_000)],
        [Fault(without_length=True)],
        [Fault(close_after=0), Fault(close_after=1)],
        [],
    ]
    for path, faults in zip(paths, wrongs, strict=True):
        server.faults[path].extend(faults)
    assert download.all(paths) == [download.folder.resolve() / path for path in paths]
    assert download.intact(paths)
    assert server.most_connections == 2
    assert not list(download.folder.rglob("*.part*"))


def test_broken_off_downloads_fetch_no_byte_twice(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.faults[path].extend(Fault(close_after=n) for n in (9_000, 1, 0, 12_345, 7))
    download.all([path])
    assert download.intact([path])
    assert server.sent[path] == len(server.files[path])
    asked = [headers for method, of, headers in server.requests if (method, of) == ("GET", path)]
    assert all(("range" in headers) == ("if-range" in headers) == (number > 0) for number, headers in enumerate(asked))


def test_a_download_that_was_stopped_goes_on_behind_what_has_come(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.faults[path].append(Fault(stall_after=10_000))
    began = time.monotonic()
    with download.downloads([path]) as first:
        wait_until(lambda: first.progress().have == 10_000, "10,000 bytes")
    assert time.monotonic() - began < 8  # although the server still keeps the connection
    assert (download.folder / f"{path}.part").stat().st_size == 10_000
    download.clock = QuickClock()
    with download.downloads([path]) as second:
        assert second.progress().have >= 10_000
        assert len(list(second)) == 1
    assert download.intact([path])
    assert server.sent[path] == len(server.files[path])


def test_two_downloads_at_once_share_the_two_connections(server: DumpServer, tmp_path: Path) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number, 200_000) for number in range(6)])
    runs = [Download(server, tmp_path / name, QuickClock()) for name in ("a", "b", "c")]
    threads = [threading.Thread(target=run.all, args=(paths,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(run.intact(paths) for run in runs)
    assert server.most_connections == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_is_left_alone_for_as_long_as_it_asks(
    server: DumpServer, download: Download, clock: QuickClock, status: int
) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(0), shard(1)])
    server.faults[paths[0]].append(Fault(status=status, headers={"Retry-After": "120"}))
    download.all(paths)
    assert download.intact(paths)
    assert sum(clock.slept) >= 119


def test_retry_after_is_seconds_or_a_date_and_never_too_long() -> None:
    now = 1_795_000_000.0
    assert rest_asked("17", now) == 17
    assert rest_asked(formatdate(now + 60, usegmt=True), now) == pytest.approx(60)
    assert rest_asked(formatdate(now - 60, usegmt=True), now) == 0
    assert rest_asked(formatdate(now + 86_400, usegmt=True), now) == LONGEST_REST
    assert rest_asked("9" * 400, now) == LONGEST_REST
    for nonsense in ("", "soon", "-5", "1e9", "²"):
        assert rest_asked(nonsense, now) == 0


def test_pauses_between_tries_grow_and_end(server: DumpServer, download: Download, clock: QuickClock) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.always = Fault(status=503)
    with pytest.raises(TryAgain, match=r"503.*given up"):
        download.all([path])
    assert server.asked("GET", path) == 8
    assert all(2 ** (n - 1) <= pause <= 2**n for n, pause in enumerate(clock.slept[:6]))


def test_tries_that_bring_more_are_not_counted(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.faults[path].extend([Fault(close_after=1_500)] * 25)
    download.all([path])
    assert download.intact([path])


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.always = Fault(close_after=10_000, ranges=False)
    with pytest.raises(TryAgain):
        download.all([path])
    assert server.asked("GET", path) <= 10


@pytest.mark.parametrize("blind", [False, True])
def test_a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_old(
    server: DumpServer, download: Download, blind: bool
) -> None:
    new = shard(0)
    old = shard(1)[:15_000] + new[15_000:]  # of the new one's size, with the same end
    (path,) = server.add_dump(WIKI, DATE, [old])
    part = download.folder / f"{path}.part"
    server.faults[path].append(Fault(close_after=10_000))
    server.faults[path].extend([Fault(status=503)] * 7)
    with pytest.raises(TryAgain):
        download.all([path])
    assert part.stat().st_size == 10_000
    server.files[path] = new
    server.always = Fault(blind=blind)
    download.clock = QuickClock()
    download.all([path])
    assert download.intact([path])


def test_a_part_longer_than_the_file_starts_over(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    part = PartFile(download.folder / path)
    with part.opened():
        part.begin(Version(size=99_999, etag='"old"'))
        part.write(b"x" * 60_000)
    server.always = Fault(blind=True)
    download.all([path])
    assert download.intact([path])


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (Fault(status=403), Refused, "403.*--contact"),
        (Fault(status=404), Refused, "404.*not there"),
        (Fault(status=302, headers={"Location": "http://else.where/"}), Refused, "302.*else.where.*--mirror"),
        (Fault(page=True, content_type="text/html; charset=utf-8"), Refused, "HTML"),
        (Fault(page=True), Refused, "HTML"),
    ],
)
def test_what_is_final_is_asked_once_and_said(
    server: DumpServer, download: Download, wrong: Fault, error: type[CirrostreamError], words: str
) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    server.always = wrong
    with pytest.raises(error, match=words) as raised:
        download.all([path])
    assert server.address + path.replace("=", "%3D") in str(raised.value)
    assert server.asked("GET", path) == 1
    assert not (download.folder / path).exists()


def test_after_a_refusal_no_more_is_asked_for_and_what_is_whole_is_given(
    server: DumpServer, download: Download
) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(20)])
    server.faults[paths[1]].append(Fault(status=403))
    given: list[Path] = []
    with download.downloads(paths) as downloads, pytest.raises(Refused, match="403"):
        given.extend(downloads)
    assert 1 <= len(given) < 20
    assert sum(server.asked("GET", path) for path in paths) == len(given) + 1


@pytest.mark.parametrize("content", [b"", b"BZh9 but no stream", shard(0)[:-1], shard(0) + b"tail", b"PK\x03\x04" * 99])
def test_a_file_that_is_broken_on_the_server_is_not_kept(
    server: DumpServer, download: Download, content: bytes
) -> None:
    (path,) = server.add_dump(WIKI, DATE, [content])
    with pytest.raises(CheckFailed, match=r"00000\.json\.bz2: it does not (begin|end).*broken there"):
        download.all([path])
    assert server.asked("GET", path) == 2
    assert not (download.folder / path).exists()


def test_the_end_of_a_bz2_stream_is_found_at_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.bz2"
    for size in range(120):
        whole = bz2.compress(random.Random(size).randbytes(size)) * (1 + size % 2)
        for content, right in ((whole, True), (whole[:-1], False), (whole + b"x", False), (whole[:-12], False)):
            path.write_bytes(content)
            with path.open("rb") as file:
                assert (edge_fault(path.name, file) == "") is right, (size, right)


def test_a_file_that_is_here_and_the_servers_is_adopted(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(0), shard(1), shard(2)])
    for path, content in zip(paths, (shard(0), shard(1)[:-9], bytes(len(shard(2)))), strict=True):
        (download.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (download.folder / path).write_bytes(content)
    lacking = sum(len(server.files[path]) for path in paths[1:2])
    download.all(paths, free=lambda _: MARGIN_BYTES + lacking)
    assert download.intact(paths)
    assert [server.asked("GET", path) for path in paths] == [0, 1, 1]
    assert all(is_whole(download.folder / path) for path in paths)


def test_whole_files_are_not_asked_for_again(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(0), shard(1)])
    download.all(paths)
    asked = len(server.requests)
    download.clock = QuickClock()
    assert len(download.all(paths)) == 2
    assert len(server.requests) == asked


def test_a_whole_file_that_was_cut_since_is_fetched_again(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    (local,) = download.all([path])
    local.write_bytes(local.read_bytes()[:100])
    download.clock = QuickClock()
    download.all([path])
    assert download.intact([path])


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(5)])
    with pytest.raises(UsageError, match=r"GiB to download.*--delete-after"):
        download.all(paths, free=lambda _: MARGIN_BYTES + sum(map(len, server.files.values())) - 1)
    assert not any(server.asked("GET", path) for path in paths)
    download.clock = QuickClock()
    assert len(download.all(paths, free=lambda _: MARGIN_BYTES + sum(map(len, server.files.values())))) == 5


def test_a_disk_that_fills_up_meanwhile_is_said(
    server: DumpServer, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartFile, "write", full)
    with pytest.raises(Fatal, match=r"00000\.json\.bz2: No space left on device"):
        download.all([path])


def test_another_process_that_downloads_the_same_file_is_noticed(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [shard(0)])
    with PartFile(download.folder / path).opened(), pytest.raises(TryAgain, match="another process"):
        download.all([path])


def test_shards_are_given_in_order_while_later_ones_still_come(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(4)])
    server.faults[paths[1]].append(Fault(stall_after=500))
    with download.downloads(paths) as downloads:
        first = downloads.take(20)
        assert first == download.folder.resolve() / paths[0]
        wait_until(lambda: downloads.progress().finished == 3, "all but the one that stalls")
        assert downloads.take() is None
        assert not downloads.exhausted


def test_only_wanted_shards_are_downloaded(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(4)])
    with download.downloads(paths, wanted=lambda file: not file.name.endswith("-00002.json.bz2")) as downloads:
        assert len(list(downloads)) == 3
        assert downloads.progress().unwanted == 1
    assert server.asked("GET", paths[2]) == server.asked("HEAD", paths[2]) == 0


def test_what_was_read_is_deleted_and_not_downloaded_again(server: DumpServer, download: Download) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(6)])
    largest = max(len(server.files[path]) for path in paths)

    def lying() -> int:
        total = 0
        for file in (*download.folder.rglob("*.bz2"), *download.folder.rglob("*.part")):
            with contextlib.suppress(FileNotFoundError):  # renamed, or read and deleted meanwhile
                total += file.stat().st_size
        return total

    with download.downloads(paths, delete_after=True, ahead_bytes=2 * largest) as downloads:
        for path in itertools.islice(downloads, 4):
            assert lying() <= 2 * largest + 1_000
            assert path.read_bytes() == server.files[str(path.relative_to(download.folder.resolve()))]
            downloads.release(path)
            assert not path.exists()
    marker = read_marker(download.folder / paths[0])
    assert marker is not None
    assert marker.released
    download.clock = QuickClock()
    with download.downloads(paths, delete_after=True, ahead_bytes=2 * largest) as downloads:
        for path in downloads:
            downloads.release(path)
    assert [server.asked("GET", path) >= 1 for path in paths] == [True] * 6
    assert [server.asked("GET", path) for path in paths[:4]] == [1] * 4
    download.clock = QuickClock()
    assert len(download.all(paths[:2], delete_after=True, wanted=lambda _: True)) == 2


def test_reading_goes_on_when_one_shard_is_larger_than_what_may_lie_ahead(
    server: DumpServer, download: Download
) -> None:
    paths = server.add_dump(WIKI, DATE, [shard(number) for number in range(4)])
    with download.downloads(paths, delete_after=True, ahead_bytes=1) as downloads:
        for path in downloads:
            downloads.release(path)
    assert server.most_connections == 1


def test_the_rate_forgets_what_is_long_ago() -> None:
    rate = Rate()
    assert rate.after(0.0, 0) == 0
    assert rate.after(10.0, 1000) == pytest.approx(100)
    for second in range(11, 60):
        rate.after(float(second), 1000)
    assert rate.after(60.0, 1000) == 0


def run(server: DumpServer, folder: Path, *arguments: str) -> tuple[int, str]:
    mirror = ["--wiki", WIKI, "--mirror", server.address, "--data-dir", str(folder)]
    result = CliRunner().invoke(dumps.app, [*mirror, *arguments])
    return result.exit_code, result.stdout


def test_the_command_lists_and_downloads_a_dump(
    server: DumpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda: None)  # it would keep the runner's stderr, for all tests after this
    paths = server.add_dump(WIKI, DATE, [shard(0), shard(1)])
    code, out = run(server, tmp_path, "--list", "--json")
    listed = json.loads(out)
    assert code == Exit.DONE
    assert [found["size"] for found in listed["shards"]] == [len(server.files[path]) for path in paths]
    assert not list(tmp_path.rglob("*.bz2"))
    code, out = run(server, tmp_path)
    assert code == Exit.DONE
    assert all((tmp_path / "dumps" / path).read_bytes() == server.files[path] for path in paths)
    server.always = Fault(status=403)
    assert run(server, tmp_path, "--snapshot", DATE)[0] == Exit.USAGE


def test_a_page_that_is_longer_than_one_read_is_still_refused(server: DumpServer, download: Download) -> None:
    (path,) = server.add_dump(WIKI, DATE, [b"\n  " + PAGE * 5_000])
    with pytest.raises(Refused, match="HTML"):
        download.all([path])
