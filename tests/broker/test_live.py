"""`producers.live` and `producers.mediawiki` against a real Kafka and a wiki on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.kafka import Cluster, read_to_end
from pipeline.records import Page, decode
from pipeline.settings import Settings
from pipeline.topics import ensure_corpus
from producers.stream.outlet import LivePosition, read_position
from tests.conftest import SettingsEnv
from tests.waiting import wait_until
from tests.wiki_server import FakeWiki, Reply, Served, served

RUN_SECONDS = 60


class Producer:
    """Runs the commands as an operator would, and looks at what is in their topics."""

    def __init__(self, site: Served, environment: dict[str, str], folder: Path) -> None:
        self.wiki = site.wiki
        self.environment = environment
        self.cluster = Cluster.connect(Settings())
        self.topics = ensure_corpus(self.cluster, Settings())
        self._log = (folder / "log").open("w+")
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", command, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._processes.append(process)
        return process

    def follow(self, *arguments: str) -> subprocess.Popen[str]:
        """`producers.live`, which has begun to listen."""
        before = len(self.wiki.listeners)
        process = self.start("producers.live", *arguments)
        wait_until(lambda: len(self.wiki.listeners) > before or process.poll() is not None, "it listens", RUN_SECONDS)
        assert process.poll() is None, self.said()
        return process

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def records(self) -> list[tuple[str, Page | None]]:
        """Everything in `pages`, in the order of each partition."""
        found = read_to_end(self.cluster, self.topics.pages, deadline_s=30)
        return [(r.key.decode(), None if r.value is None else decode(r.value, Page)) for r in found]

    def newest(self) -> dict[str, Page | None]:
        return dict(self.records())

    def texts(self) -> dict[str, str]:
        """What a reader of `pages` ends up with."""
        return {key: page.text for key, page in self.newest().items() if page is not None}

    def position(self) -> LivePosition:
        found = read_position(self.cluster, self.topics.progress, self.wiki.wiki)
        assert found is not None
        return found

    def caught_up(self) -> bool:
        """Whether the position is behind the wiki's last event."""
        event_id = self.position().event_id
        return bool(event_id) and json.loads(event_id)[0]["offset"] == len(self.wiki._events)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._log.close()
        self.cluster.close()


@pytest.fixture
def producer(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[Producer]:
    with served(FakeWiki()) as site:
        environment = settings_env(
            wiki="testwiki", api=site.api, stream=site.stream, refetch_seconds=1, progress_seconds=0.1
        )
        producer = Producer(site, environment, tmp_path)
        yield producer
        producer.close()


def stopped(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Exit code, and how long it took to end."""
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return process.returncode, time.monotonic() - asked


def test_edits_moves_deletions_and_restores_arrive_within_seconds(producer: Producer) -> None:
    wiki = producer.wiki
    process = producer.follow()
    wiki.write(7, "Amber", "Amber is a resin.")
    wiki.write(8, "Opal", "Opal is a gem.")
    edited = time.monotonic()
    wait_until(lambda: len(producer.texts()) == 2, "two new pages")
    assert time.monotonic() - edited < 15
    wiki.delete(7)
    wait_until(lambda: producer.newest()["testwiki:7"] is None, "a tombstone")
    wiki.restore(7)
    wait_until(lambda: "testwiki:7" in producer.texts(), "the page that was restored")
    wiki.move(7, "Succinite")
    wait_until(lambda: (p := producer.newest()["testwiki:7"]) and p.title == "Succinite", "its new title")
    wiki.move(8, "User:Opal", namespace=2)
    wait_until(lambda: producer.newest()["testwiki:8"] is None, "it has left the articles")
    wiki.move(8, "Opal")
    wait_until(lambda: "testwiki:8" in producer.texts(), "it came back")
    wiki.write(8, "Opal", "", leads_to="Succinite")
    wait_until(lambda: producer.newest()["testwiki:8"] is None, "it became a redirect")
    wait_until(producer.caught_up, "the position is behind the last event")
    code, seconds = stopped(process)
    assert (code, seconds < 10) == (0, True), producer.said()


def test_killed_at_any_moment_it_loses_nothing(producer: Producer) -> None:
    wiki = producer.wiki
    for round_ in range(4):
        process = producer.follow()
        for number in range(1, 16):
            wiki.write(number, f"Page {number}", f"Text {round_} of {number}.")
        wiki.delete(1 + round_)
        if round_ % 2:
            wait_until(lambda: any("Text" in text for text in producer.texts().values()), "the first are there")
            wiki.break_off()
        process.kill()
        process.wait()
        wiki.write(15, "Page 15", f"Written while nobody listens, {round_}.")
    producer.follow()
    there = {f"testwiki:{page.page_id}": page.text for page in wiki.pages.values() if page.exists}
    wait_until(lambda: producer.texts() == there, "the table is as the wiki")
    wait_until(producer.caught_up, "the position is behind the last event")


def test_events_that_repeat_come_late_or_are_none_change_nothing(producer: Producer) -> None:
    wiki = producer.wiki
    producer.follow()
    wiki.write(7, "Amber", "Old.")
    wiki.write(7, "Amber", "New.")
    wiki.write(8, "Opal", "Opal is a gem.")
    wiki.delete(8)
    wait_until(producer.caught_up, "the position is behind the last event")
    before = len(producer.records())
    for event in reversed(wiki._events[:]):
        wiki.push(event)
    wiki.push(b"data: no event at all\n\n")
    wiki.push(wiki.event("edit", wiki.pages[7], meta={"domain": "canary"}))
    wiki.push(wiki.event("edit", wiki.pages[7], wiki_id="otherwiki"))
    wiki.write(9, "Ruby", "The last.")
    wait_until(lambda: "testwiki:9" in producer.texts(), "what came behind them")
    wait_until(producer.caught_up, "the position is behind the last event")
    assert producer.texts() == {"testwiki:7": "New.", "testwiki:9": "The last."}
    assert len(producer.records()) == before + 1


def test_a_refused_stream_is_said_in_one_line_and_one_that_is_long_gone_is_not_gone_on_with(
    producer: Producer,
) -> None:
    producer.wiki.stream_replies.append(Reply(404, b"no such stream"))
    process = producer.start("producers.live")
    assert process.wait(RUN_SECONDS) == 70
    assert "error: " in producer.said()
    assert "HTTP 404: no such stream" in producer.said()
    process = producer.start("producers.live", "--max-away-days", "0.0000001")
    assert process.wait(RUN_SECONDS) == 70
    assert "load a newer snapshot" in producer.said()


@pytest.mark.parametrize("command", ["producers.live", "producers.mediawiki"])
def test_who_stops_it_does_not_wait_for_a_server_that_stalls(producer: Producer, command: str) -> None:
    producer.wiki.replies.append(Reply(after_s=60))
    process = producer.start(command, *(["--titles", "Amber"] if command == "producers.mediawiki" else []))
    wait_until(lambda: producer.wiki.requests, "the API is asked", RUN_SECONDS)
    code, seconds = stopped(process)
    assert (code, seconds < 10) == (0, True), producer.said()


NESTED_TEMPLATES = "{{a|" * 16_000
"""Takes the parser of wikitext minutes."""


@pytest.mark.parametrize("command", ["producers.live", "producers.mediawiki"])
def test_who_stops_it_does_not_wait_for_a_page_that_is_parsed(producer: Producer, command: str) -> None:
    producer.wiki.cirrus = False
    if command == "producers.live":
        process = producer.follow()
        producer.wiki.write(7, "Amber", NESTED_TEMPLATES)
    else:
        producer.wiki.write(7, "Amber", NESTED_TEMPLATES)
        process = producer.start(command, "--titles", "Amber")
    wait_until(lambda: producer.wiki.asked, "the page is asked for", RUN_SECONDS)
    wait_until(lambda: parsers_of(process.pid), "its wikitext is being parsed")
    code, seconds = stopped(process)
    assert (code, seconds < 10) == (0, True), producer.said()


def parsers_of(pid: int) -> list[int]:
    """Processes that this one has started, and that are busy."""
    return [child.pid for child in psutil.Process(pid).children() if child.cpu_times().user > 0.5]


def test_whatever_editors_write_the_other_pages_are_followed(producer: Producer) -> None:
    wiki = producer.wiki
    wiki.cirrus = False
    process = producer.follow()
    wiki.write(1, "Nested", NESTED_TEMPLATES)
    wiki.write(2, "Half a pair", "Signs &#xD83D; and more text.")
    wiki.push(b"id: \xc3\xa4nderung\ndata: " + b"[" * 50_000 + b"\n\n")
    wiki.push(b'data: {"meta": {"domain": "x"}, "odd": ' + b"[" * 50_000 + b"]" * 50_000 + b"}\n\n")
    wiki.push(wiki.event("edit", wiki.pages[1], page={"page_id": 2**40, "namespace_id": 0}))
    wiki.write(3, "After", "A page behind them.")
    wait_until(lambda: "testwiki:3" in producer.texts(), "the page behind them")
    wiki.break_off()
    wiki.write(4, "Last", "The last page.")
    wait_until(lambda: "testwiki:4" in producer.texts(), "the stream is taken up again")
    assert stopped(process)[0] == 0, producer.said()


def run_json(producer: Producer, *arguments: str) -> dict[str, Any]:
    process = producer.start("producers.mediawiki", "--json", *arguments)
    out, _ = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, producer.said()
    said: dict[str, Any] = json.loads(out)
    return said


def test_titles_a_file_and_a_category_become_pages_with_an_account_of_each(producer: Producer, tmp_path: Path) -> None:
    wiki = producer.wiki
    for number in range(1, 30):
        wiki.write(number, f"Page {number}", f"Text {number}.", categories=("Numbers",))
    wiki.write(50, "First", "", leads_to="Page 1")
    wiki.write(51, "Page 51", " ")
    wiki.write(60, "Category:More numbers", "", namespace=14, categories=("Numbers",))
    wiki.write(61, "Page 61", "Deeper.", categories=("More numbers",))
    wiki.replies.append(Reply(503, headers={"Retry-After": "0"}))
    said = run_json(producer, "--titles", "Page 1|First|page_2|Page 51|Nowhere|Commons:X| |<bad>")
    assert said["balanced"]
    assert said["finished"]
    assert said["ledger"]["produced"] == 2
    dropped = {"repeated": 1, "empty": 1, "missing": 1, "interwiki": 1, "invalid_title": 1}
    assert said["ledger"]["dropped"] == dropped
    assert said["without_page"] == ["Nowhere", "Commons:X", "<bad>"]
    assert producer.texts() == {"testwiki:1": "Text 1.", "testwiki:2": "Text 2."}
    (tmp_path / "titles").write_text("Page 3\n\nPage 4\n")
    assert run_json(producer, "--titles-file", str(tmp_path / "titles"))["ledger"]["produced"] == 2
    assert run_json(producer, "--category", "Numbers", "--limit", "25")["ledger"]["produced"] == 25
    said = run_json(producer, "--category", "Numbers", "--depth", "1")
    assert said["ledger"]["dropped"] == {"namespace": 1}
    assert producer.texts()["testwiki:61"] == "Deeper."
    assert len(producer.texts()) == 30
    assert wiki.most_at_once <= 2
