"""`python -m sinks.lance` on a real Kafka: kills, rivals, poison, lost tables and topics made anew."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.dead_letters import read
from pipeline.errors import Fatal
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import Metrics
from pipeline.model_files import resolve
from pipeline.publisher import Message, Publisher
from pipeline.records import EmbeddedPage, Source, encode
from pipeline.settings import ModelSettings
from pipeline.topics import ensure_corpus, ensure_model, lance_group, topic_ids
from sinks.storage import connect, open_table, read_fence
from sinks.trim import Trimmer
from tests.conftest import SettingsEnv
from tests.faults.killers import Trap, armed, sprung
from tests.tables import contents, deletion, embedded, texts
from tests.waiting import wait_until

PARTITIONS = 4


class Corpus:
    """The topics of one test, what was sent to `vectors`, and the sinks that were started."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder
        settings = ModelSettings()
        self.settings = settings
        self.cluster = Cluster.connect(settings)
        self.corpus = ensure_corpus(self.cluster, settings)
        self.topics = ensure_model(self.cluster, settings, resolve(settings, weights=False).tag)
        self.pages_id = topic_ids(self.cluster, [self.corpus.pages])[self.corpus.pages]
        self.group = lance_group(settings, "wikipedia")
        self.publisher = Publisher(self.cluster, Metrics("test"))
        self.sinks: list[subprocess.Popen[str]] = []

    def page(self, number: int, offset: int, chunks: int | None) -> EmbeddedPage:
        key, partition = f"enwiki:{number}", number % PARTITIONS
        if chunks is None:
            return deletion(key, offset, topic=self.pages_id, partition=partition)
        return embedded(key, offset, chunks, topic=self.pages_id, partition=partition, dimension=384)

    def send(self, *pages: EmbeddedPage) -> None:
        self.fill_pages(*pages)
        self.send_raw(*((page.key, encode(page), page.source.partition) for page in pages))

    def fill_pages(self, *pages: EmbeddedPage) -> None:
        """Lets `pages` be as long as these say: the sink believes no source that is not there."""
        ends = self.cluster.log(self.corpus.pages).ends
        wanted: dict[int, int] = {}
        for page in pages:
            partition = page.source.partition
            wanted[partition] = max(page.source.offset + 1, wanted.get(partition, 0))
        self.publisher.publish(
            [
                Message(self.corpus.pages, b"enwiki:0", b"", partition)
                for partition, end in wanted.items()
                for _ in range(ends[partition], end)
            ]
        ).wait()

    def send_raw(self, *messages: tuple[str, bytes, int]) -> None:
        self.publisher.publish(
            [Message(self.topics.vectors, key.encode(), value, partition) for key, value, partition in messages]
        ).wait()

    def start(self, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sinks.lance", "--batch-seconds", "0.2", *flags]
        log = (self.folder / f"sink-{len(self.sinks)}.log").open("w")
        sink = subprocess.Popen(command, env=self.env, stderr=log, stdout=log, text=True)
        self.sinks.append(sink)
        return sink

    def said(self, sink: subprocess.Popen[str]) -> str:
        return (self.folder / f"sink-{self.sinks.index(sink)}.log").read_text()

    def fails(self, *flags: str) -> tuple[int, str]:
        """Exit code and last line of a sink that must end by itself."""
        sink = self.start(*flags)
        code = sink.wait(60)
        said = self.said(sink)
        assert "Traceback" not in said, said
        return code, said.strip().splitlines()[-1]

    def drained(self) -> bool:
        committed = self.cluster.committed(self.group, self.topics.vectors)
        return all(committed.get(p, 0) == end for p, end in self.cluster.log(self.topics.vectors).ends.items())

    def wait_drained(self, sink: subprocess.Popen[str]) -> None:
        wait_until(lambda: self.drained() or sink.poll() is not None, "everything is committed")
        assert sink.poll() is None, self.said(sink)

    def wait_written(self, more_than: int, sink: subprocess.Popen[str]) -> None:
        try:
            wait_until(lambda: sum(self.fence_or_nothing().values()) > more_than, "the fence has moved")
        except AssertionError as error:
            raise AssertionError(self.said(sink)) from error

    def stop(self, sink: subprocess.Popen[str]) -> None:
        sink.terminate()
        assert sink.wait(15) == 0, self.said(sink)

    def contents(self) -> dict[str, list[str]]:
        return contents(open_table(connect(str(self.folder / "lance")), "wikipedia"))

    def fence(self) -> dict[int, int]:
        return read_fence(open_table(connect(str(self.folder / "lance")), "wikipedia")).fence.offsets

    def fence_or_nothing(self) -> dict[int, int]:
        return self.fence() if (self.folder / "lance" / "wikipedia.lance" / "_versions").exists() else {}

    def close(self) -> None:
        for sink in self.sinks:
            sink.kill()
            sink.wait()
        self.publisher.close()
        self.cluster.close()


@pytest.fixture
def corpus(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[Corpus]:
    corpus = Corpus(settings_env(), tmp_path)
    yield corpus
    corpus.close()


def expected(*pages: EmbeddedPage) -> dict[str, list[str]]:
    return {page.key: texts(page) for page in pages}


def test_pages_versions_and_deletions_arrive_and_the_group_tells_what_the_fence_tells(corpus: Corpus) -> None:
    pages = [corpus.page(number, number, 3) for number in range(20)]
    shorter, gone = corpus.page(1, 101, 1), corpus.page(2, 102, None)
    sink = corpus.start()
    corpus.send(*pages)
    corpus.send(shorter, gone, pages[1], pages[2])
    corpus.wait_drained(sink)
    assert corpus.contents() == expected(*(page for page in pages if page.key not in (shorter.key, gone.key)), shorter)
    assert corpus.fence() == corpus.cluster.committed(corpus.group, corpus.topics.vectors)
    corpus.stop(sink)


@pytest.mark.faults
def test_a_sink_killed_at_any_moment_leaves_what_an_undisturbed_one_does(corpus: Corpus) -> None:
    pages = [corpus.page(number, number, 2) for number in range(200)]
    for start in range(0, 200, 50):
        sink = corpus.start("--batch-rows", "7")
        corpus.send(*pages[start : start + 50])
        before = sum(corpus.fence_or_nothing().values()) if start else 0
        corpus.wait_written(before, sink)
        sink.kill()
        sink.wait()
    sink = corpus.start()
    corpus.wait_drained(sink)
    assert corpus.contents() == expected(*pages)
    corpus.stop(sink)


def test_a_second_sink_takes_over_and_the_first_ends_with_3(corpus: Corpus) -> None:
    first = corpus.start()
    corpus.send(corpus.page(1, 1, 2))
    corpus.wait_drained(first)
    second = corpus.start()
    wait_until(lambda: "started" in corpus.said(second), "the second has started")
    deadline = time.monotonic() + 150  # it loads LanceDB and takes the table over, while others use the machine
    offset = 2
    while first.poll() is None and time.monotonic() < deadline:
        corpus.send(corpus.page(offset, offset, 1))
        offset += 1
        time.sleep(0.2)
    assert first.poll() == 3, corpus.said(first) + corpus.said(second)
    corpus.wait_drained(second)
    assert len(corpus.contents()) == offset - 1
    corpus.stop(second)


def test_poison_becomes_a_dead_letter_and_its_neighbours_are_written(corpus: Corpus) -> None:
    good, bad = corpus.page(1, 1, 2), corpus.page(5, 5, 2)
    nan = msgspec.structs.replace(bad, vectors=b"\x00\x00\xc0\x7f" * (2 * 384))
    sink = corpus.start()
    corpus.fill_pages(good, bad)
    corpus.send_raw(("enwiki:1", b"not msgpack", 1), ("enwiki:5", encode(nan), 1), ("enwiki:1", encode(good), 1))
    corpus.wait_drained(sink)
    assert corpus.contents() == expected(good)
    letters = [read(record)[1] for record in read_to_end(corpus.cluster, corpus.corpus.dead_letters)]
    assert sorted(letter.reason for letter in letters) == ["bad_vectors", "undecodable"]
    assert {letter.value for letter in letters} == {b"not msgpack", encode(nan)}
    corpus.stop(sink)


def test_a_newer_schema_waits_for_an_upgrade_and_goes_nowhere(corpus: Corpus) -> None:
    corpus.send_raw(("enwiki:1", encode(msgspec.structs.replace(corpus.page(1, 1, 1), schema=2)), 1))
    code, said = corpus.fails()
    assert code == 75
    assert "upgrade this process" in said
    assert corpus.cluster.log(corpus.corpus.dead_letters).ends == dict.fromkeys(range(PARTITIONS), 0)


def test_records_of_no_process_of_ours_are_refused_and_stop_nothing(corpus: Corpus) -> None:
    sink = corpus.start("--max-dead-letters", "3")
    good, later = corpus.page(1, 1, 2), corpus.page(1, 2, 1)
    corpus.send(good)
    forged = [
        *(corpus.page(1, 2**40 + n, 1) for n in range(3)),
        corpus.page(1, 1_000_000, None),
        msgspec.structs.replace(good, source=Source(corpus.pages_id, 2, 1)),
        msgspec.structs.replace(good, source=Source("no-such-topic", 1, 1)),
        msgspec.structs.replace(good, schema=99),
    ]
    corpus.send_raw(*(("enwiki:1", encode(page), 1) for page in forged))
    corpus.send(later)
    corpus.wait_drained(sink)
    assert corpus.contents() == expected(later), "what was sent to `pages` last wins"
    letters = [read(record)[1] for record in read_to_end(corpus.cluster, corpus.corpus.dead_letters)]
    reasons = Counter(letter.reason for letter in letters)
    assert reasons == {"forged_source": 5, "unknown_topic": 1, "unknown_schema": 1}
    assert all(letter.source is None for letter in letters)
    corpus.stop(sink)


def test_a_lost_table_whose_records_are_gone_is_refused_and_rebuilt_on_demand(corpus: Corpus) -> None:
    sink = corpus.start()
    corpus.send(*(corpus.page(number, number, 1) for number in range(8)))
    corpus.wait_drained(sink)
    corpus.stop(sink)
    corpus.cluster.trim(corpus.topics.vectors, {0: 1})
    shutil.rmtree(corpus.folder / "lance")
    code, said = corpus.fails()
    assert code == 70
    assert "--rebuild" in said
    assert "python -m pipeline.replay --stage chunk" in said
    sink = corpus.start("--rebuild")
    corpus.wait_written(7, sink)
    assert set(corpus.contents()) == {f"enwiki:{number}" for number in range(1, 8)}
    corpus.stop(sink)


def test_topics_made_anew_are_refused_until_adopted(corpus: Corpus) -> None:
    sink = corpus.start()
    corpus.send(corpus.page(1, 900, 3), corpus.page(2, 901, 1))
    corpus.wait_drained(sink)
    corpus.stop(sink)
    old = corpus.page(1, 950, 2)
    names = [corpus.corpus.pages, corpus.topics.vectors]
    corpus.cluster.admin.delete_topics(names)
    wait_until(lambda: not exists(corpus.cluster, names), "the topics are gone")
    code, said = corpus.fails()
    assert code == 70
    assert "pages and vectors were made anew" in said
    assert "--adopt" in said
    corpus.pages_id = topic_ids(corpus.cluster, names)[corpus.corpus.pages]
    sink = corpus.start("--adopt")
    corpus.send(corpus.page(1, 3, 1))
    corpus.wait_drained(sink)
    assert corpus.contents() == expected(corpus.page(1, 3, 1), corpus.page(2, 901, 1))
    assert old.source.topic_id != corpus.pages_id
    corpus.stop(sink)


def exists(cluster: Cluster, names: list[str]) -> bool:
    def there(name: str) -> bool:
        try:
            cluster.describe(name)
        except Fatal:
            return False
        return True

    return any(map(there, names))


def test_kafka_forgets_what_every_reader_and_the_table_have(corpus: Corpus) -> None:
    sink = corpus.start()
    corpus.send(*(corpus.page(number, number, 1) for number in range(8)))
    corpus.wait_drained(sink)
    trimmer = Trimmer(
        corpus.cluster, corpus.topics.vectors, corpus.group, Metrics("lance"), bound=lambda: corpus.fence() | {3: 1}
    )
    assert trimmer.trim() == {}
    assert trimmer.trim() == {0: 2, 1: 2, 2: 2, 3: 1}
    assert corpus.cluster.log(corpus.topics.vectors).starts == {0: 2, 1: 2, 2: 2, 3: 1}
    assert trimmer.trim() == {}
    corpus.stop(sink)


@pytest.mark.faults
def test_a_page_that_kills_the_sink_is_a_dead_letter_after_five_starts(corpus: Corpus) -> None:
    pages = [corpus.page(number, number, 2) for number in range(40)]
    corpus.env = armed(corpus.folder / "traps", [Trap("sinks.table:against", "'enwiki:13'", "kill")], corpus.env)
    corpus.send(*pages)
    for start in range(6):
        sink = corpus.start()
        wait_until(lambda sink=sink: corpus.drained() or sink.poll() is not None, f"end of start {start}")  # type: ignore[misc]
    assert corpus.drained(), corpus.said(sink)
    corpus.stop(sink)
    assert sprung(corpus.folder / "traps") == 5
    assert corpus.contents() == expected(*(page for page in pages if page.key != "enwiki:13"))
    [letter] = [read(record)[1] for record in read_to_end(corpus.cluster, corpus.corpus.dead_letters)]
    assert (letter.key, letter.reason, letter.source, letter.attempts) == (b"enwiki:13", "killed", pages[13].source, 3)


@pytest.mark.faults
def test_sigterm_and_sigkill_between_the_pages_make_no_dead_letter(corpus: Corpus) -> None:
    pages = [corpus.page(number, number, 1) for number in range(60)]
    corpus.send(*pages[:20])
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        sink = corpus.start("--batch-rows", "3")
        corpus.wait_written(0, sink)
        sink.send_signal(end)
        sink.wait(30)
    corpus.send(*pages[20:])
    sink = corpus.start()
    corpus.wait_drained(sink)
    corpus.stop(sink)
    assert corpus.contents() == expected(*pages)
    assert not sum(corpus.cluster.log(corpus.corpus.dead_letters).ends.values())
