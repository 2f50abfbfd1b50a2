"""What a dump server has is found by its listings, and nothing that a listing says is trusted."""

from __future__ import annotations

import bz2
import contextlib
import time
from collections.abc import Iterator

import pytest
import structlog
from pydantic import ValidationError

from pipeline.errors import TryAgain, UsageError
from producers.fetch import http as http_files
from producers.fetch.contact import user_agent
from producers.fetch.http import HttpFiles
from producers.fetch.listing import read_listing
from producers.fetch.mirror import DumpMirror, find_snapshot
from producers.fetch.remote_file import Refused, RemoteFile
from producers.fetch.settings import MirrorSettings
from tests.dump_server import DumpServer, Fault, QuickClock

BASE = "https://dumps.example/other/cirrus_search_index/"
SHARDS = [bz2.compress(bytes([number]) * 1000) for number in range(12)]


@pytest.fixture
def server() -> Iterator[DumpServer]:
    with DumpServer() as server:
        yield server


def mirror(server: DumpServer, address: str = "") -> DumpMirror:
    return DumpMirror(address or server.address, HttpFiles("test", clock=QuickClock()))


def test_latest_is_the_newest_snapshot_of_the_wiki_that_is_complete(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261101", SHARDS[:1])
    server.add_dump("enwiki", "20261108", SHARDS)
    server.add_dump("enwiki", "20261115", SHARDS[:1], done=False)
    server.add_dump("dewiki", "20261122", SHARDS[:1])
    snapshot = mirror(server).snapshot("enwiki")
    assert snapshot.date == "20261108"
    assert [file.name[-14:-9] for file in snapshot.files] == [f"{number:05}" for number in range(12)]
    assert snapshot.files[0].place == "20261108/index_name=enwiki_content/enwiki_content-20261108-00000.json.bz2"
    assert snapshot.files[0].size == len(SHARDS[0])
    assert "%3D" in snapshot.files[0].address


def test_success_may_lie_in_the_folder_of_the_date(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS, done=False)
    server.files["20261115/_SUCCESS"] = b""
    assert len(mirror(server).snapshot("enwiki", "20261115").files) == 12


def test_a_snapshot_without_success_is_refused(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS, done=False)
    with pytest.raises(UsageError, match=r"20261115.*not complete.*_SUCCESS"):
        mirror(server).snapshot("enwiki", "20261115")
    with pytest.raises(UsageError, match="no snapshot of enwiki is complete: 20261115"):
        mirror(server).snapshot("enwiki")


def test_a_wiki_that_is_not_there_is_named_with_those_like_it(server: DumpServer) -> None:
    for wiki in ("simplewiki", "enwiki", "dewiki"):
        server.add_dump(wiki, "20261115", SHARDS[:1])
    for date in ("latest", "20261115"):
        with pytest.raises(UsageError, match=r"no dump of 'simpelwiki' in 20261115.*simplewiki"):
            mirror(server).snapshot("simpelwiki", date)


def test_a_date_that_is_not_there_is_named_with_those_that_are(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS[:1])
    with pytest.raises(UsageError, match="no snapshot 20261116; there are 20261115"):
        mirror(server).snapshot("enwiki", "20261116")


@pytest.mark.parametrize("path", ["", "nothing/"])
def test_a_server_without_dumps_is_no_mirror(server: DumpServer, path: str) -> None:
    server.links[""] = ["readme.txt"]
    with pytest.raises(UsageError, match="--mirror is the folder"):
        mirror(server, server.address + path).snapshot("enwiki")


def test_links_out_of_the_folder_are_counted_and_never_followed(server: DumpServer) -> None:
    (path,) = server.add_dump("enwiki", "20261115", SHARDS[:1])
    folder = path.rsplit("/", 1)[0] + "/"
    name = "enwiki_content-20261115-00001.json.bz2"
    server.links[folder] = [
        f"/{name}",
        f"../{name}",
        f"..%2f{name}",
        f"sub/{name}",
        f"http://127.0.0.1:1/{name}",
        f"//127.0.0.1:1/{name}",
        f"file:///etc/{name}",
        "javascript:alert(1)",
        "http://[broken",
    ]
    with structlog.testing.capture_logs() as logs:
        snapshot = mirror(server).snapshot("enwiki", "20261115")
    assert [file.place for file in snapshot.files] == [path]
    assert [entry["links"] for entry in logs if "links" in entry] == [9]
    assert {asked for _, asked, _ in server.requests} == {folder}


def test_shards_of_another_name_are_said_and_left_alone(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS[:1])
    for name in ("dewiki_content-20261115-00001.json.bz2", "enwiki_content-20261108-00001.json.bz2", "x;rm.json.bz2"):
        server.files[f"20261115/index_name=enwiki_content/{name}"] = SHARDS[0]
    with structlog.testing.capture_logs() as logs:
        assert len(mirror(server).snapshot("enwiki").files) == 1
    assert [entry["files"] for entry in logs if "files" in entry] == [3]


def test_a_listing_without_end_is_refused(server: DumpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "LISTING_BYTES", 10_000)
    server.links[""] = ["x" * 20_000]
    with pytest.raises(Refused, match="larger than"):
        mirror(server).snapshot("enwiki")


def test_a_listing_is_asked_for_again_when_the_server_is_busy(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS)
    server.faults[""].extend([Fault(status=503), Fault(status=429), Fault(close_after=30)])
    assert len(mirror(server).snapshot("enwiki").files) == 12


def test_a_server_that_stays_away_is_given_up(server: DumpServer) -> None:
    server.faults[""].extend([Fault(status=503)] * 100)
    with pytest.raises(TryAgain, match="503"):
        mirror(server).snapshot("enwiki")
    assert server.asked("GET", "") == 8


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ('<a href="a.bz2">a.bz2</a>   15-Nov-2026 12:00   610123456', 610123456),
        ('<a href="./a.bz2">a</a> 2026-11-15 12:00 610M', None),
        ('<tr><td><a href="/other/cirrus_search_index/a.bz2">a</a></td><td>610123456</td></tr>', None),
        (f'<a href="{BASE}a%2Ebz2">a.bz2</a>', None),
    ],
)
def test_listings_of_several_servers_are_understood(line: str, size: int | None) -> None:
    listing = read_listing(f'<a href="?C=N;O=D">Name</a><a href="/other/">Parent Directory</a>{line}', BASE)
    assert listing.sizes == {"a.bz2": size}
    assert listing.outside == 0


@pytest.mark.parametrize("odd", ["<a ", "<!--", "<!-- >", "<", "< ", "<a href=x></a>< ", "&", "<script>", "<![CDATA["])
def test_no_page_takes_longer_to_read_than_it_is_long(odd: str) -> None:
    page = '<a href="a.bz2">a.bz2</a>' + odd * (1_000_000 // len(odd))
    begun = time.process_time()
    with contextlib.suppress(Refused):
        assert "a.bz2" in read_listing(page, BASE).sizes
    assert time.process_time() - begun < 5


def test_a_tag_without_an_end_is_no_listing() -> None:
    with pytest.raises(Refused, match="a tag without an end; is this a mirror"):
        read_listing('<a href="a.bz2">a.bz2</a>' + "<a " * 200_000, BASE)


@pytest.mark.parametrize("place", ["../x.bz2", "a/../x", "/x", "a//x", ".hidden", "a\\b", "a\nb", "", "x\0"])
def test_no_place_leads_out_of_the_downloads(place: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        RemoteFile("http://x/", place)


def test_a_remote_server_is_not_asked_without_a_contact() -> None:
    with pytest.raises(UsageError, match=r"--contact.*CIRROSTREAM_CONTACT"):
        find_snapshot(MirrorSettings(wiki="enwiki"))
    assert user_agent("me@example.org", BASE).startswith("cirrostream/")


def test_the_contact_is_in_every_request(server: DumpServer) -> None:
    server.add_dump("enwiki", "20261115", SHARDS)
    find_snapshot(MirrorSettings(wiki="enwiki", mirror=server.address, contact="me@example.org"))
    agents = {headers["user-agent"] for _, _, headers in server.requests}
    assert len(agents) == 1
    assert agents.pop().endswith("(me@example.org)")


@pytest.mark.parametrize(
    "wrong",
    [
        {"wiki": "../x"},
        {"wiki": "en/wiki"},
        {"snapshot": "2026-11-15"},
        {"mirror": "/data/dumps"},
        {"mirror": "ftp://x/"},
        {"mirror": "https://user:secret@x/"},
        {"mirror": "https://x/?a=b"},
        {"contact": "nobody"},
        {"contact": "a@b.c\r\nX: y"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MirrorSettings.model_validate(wrong)
