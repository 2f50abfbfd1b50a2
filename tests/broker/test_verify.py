"""`python -m sinks.verify` against a real Kafka: green for a sound pipeline, red for each thing out of step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from pipeline import topics
from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.errors import Exit
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import Metrics
from pipeline.model_files import resolve
from pipeline.publisher import Message, Publisher
from pipeline.records import EmbeddedPage, Page, Source, decode, encode
from sinks.clean_up import clean_up
from sinks.fence import Fence, encode_fence, new_stamp
from sinks.rows import fence_row
from sinks.table import Table
from sinks.verify.__main__ import app
from sinks.verify.proof import VerifySettings, verified
from tests.conftest import SettingsEnv
from tests.tables import DIMENSION, RULE, deletion, embedded, new_table


class World:
    """Topics, groups and a table, all in step: what a finished run leaves."""

    def __init__(self) -> None:
        self.settings = VerifySettings()
        self.cluster = Cluster.connect(self.settings)
        tag = resolve(self.settings, weights=False).tag
        self.corpus = topics.ensure_corpus(self.cluster, self.settings)
        self.model = topics.ensure_model(self.cluster, self.settings, tag)
        ids = topics.topic_ids(self.cluster, [self.corpus.pages, self.model.vectors])
        self.pages_id, vectors_id = ids[self.corpus.pages], ids[self.model.vectors]
        self.publisher = Publisher(self.cluster, Metrics("test"))
        fence = Fence(model=tag, dimension=DIMENSION, vectors=vectors_id, pages=(self.pages_id,))
        self.table: Table = new_table(Path(self.settings.lance_location), fence)
        self.send_all([*((f"w:{number}", number % 4) for number in range(30)), ("w:1", 3), ("w:2", None)])
        self.in_step()

    def send(self, key: str, chunks: int | None, *, stored: bool = True) -> Source:
        """One page through all stages; see `send_all`."""
        return self.send_all([(key, chunks)], stored=stored)

    def send_all(self, pages: Sequence[tuple[str, int | None]], *, stored: bool = True) -> Source:
        """Pages through all stages at once: into `pages`, and into `vectors` and the table unless they get lost."""
        ends = self.cluster.log(self.corpus.pages).ends
        made = []
        for key, chunks in pages:
            partition = sum(key.encode()) % 4
            made.append(self._made(key, partition, ends[partition], chunks))
            ends[partition] += 1
        self._publish(self.corpus.pages, [(page, encode(page.page) if page.page else None) for page in made])
        assert self.cluster.log(self.corpus.pages).ends == ends, "the offsets are not those that were promised"
        if stored:
            self._publish(self.model.vectors, [(page, b"x") for page in made])
            self.table.write(made, self.cluster.log(self.model.vectors).ends)
        return made[-1].source

    def _publish(self, topic: str, pages: Sequence[tuple[EmbeddedPage, bytes | None]]) -> None:
        messages = [Message(topic, page.key.encode(), value, page.source.partition) for page, value in pages]
        self.publisher.publish(messages).wait()

    def _made(self, key: str, partition: int, offset: int, chunks: int | None) -> EmbeddedPage:
        if chunks is None:
            return deletion(key, offset, topic=self.pages_id, partition=partition)
        return embedded(key, offset, chunks, topic=self.pages_id, partition=partition)

    def in_step(self) -> None:
        """Every group has done everything."""
        groups = {
            self.model.chunk_group: self.corpus.pages,
            self.model.embed_group: self.model.chunks,
            topics.lance_group(self.settings, self.settings.table): self.model.vectors,
        }
        for group, topic in groups.items():
            self.commit(group, topic, self.cluster.log(topic).ends)

    def commit(self, group: str, topic: str, offsets: dict[int, int]) -> None:
        consumer = self.cluster.consumer(group)
        consumer.commit({TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()})
        consumer.close()

    def change_fence(self, **changes: object) -> None:
        """Another fence, written past the writer."""
        fence = msgspec.structs.replace(self.table.fence, **changes)
        self.table.lance.update(where="n < 0", values={"fence": encode_fence(fence)})

    def close(self) -> None:
        self.publisher.close()
        self.cluster.close()


@pytest.fixture
def world(settings_env: SettingsEnv) -> Iterator[World]:
    settings_env()
    made = World()
    yield made
    made.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        app(list(arguments), prog_name="verify")
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def failed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Figures of the checks that do not hold; the exit code must say the same."""
    code, out, err = run(capsys, "--json")
    report = json.loads(out)
    assert code == (Exit.DONE if report["ok"] else Exit.CHECK_FAILED), err
    return {check["name"]: check["figures"] for check in report["checks"] if check["verdict"] == "failed"}


def test_a_pipeline_in_step_is_verified_in_all_forms(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "--report", str(tmp_path / "proof.md"))
    assert (code, err) == (0, ""), out + err
    assert "✗" not in out
    assert "verified: 29 pages" in out
    assert "29 pages and 1 deletions" in (tmp_path / "proof.md").read_text()
    code, out, err = run(capsys, "--json")
    report = json.loads(out)
    assert (code, err, report["ok"], report["pages"]) == (0, "", True, 29)
    assert {check["verdict"] for check in report["checks"]} == {"ok"}
    assert len(report["checks"]) == 10


Step = Callable[[World], object]


@pytest.mark.parametrize(
    ("step", "check", "said"),
    [
        (lambda w: (w.send("w:77", 2, stored=False), w.in_step()), "every page", "1 missing"),
        (lambda w: (w.send("w:3", 2, stored=False), w.in_step()), "every page", "1 stale"),
        (lambda w: (w.send("w:3", None, stored=False), w.in_step()), "no extra rows", "3 of a deleted page"),
        (lambda w: w.table.lance.delete("id = 'w:7#1'"), "every page", "1 incomplete"),
        (lambda w: w.send("w:77", 2), "no lag", "1 records of"),
        (lambda w: w.change_fence(vectors="other"), "one fence", "1 other vectors topic"),
        (lambda w: w.change_fence(pages=("other",)), "one fence", "1 unknown pages topic"),
        (lambda w: w.change_fence(offsets={}), "committed ≤ fence ≤ log end", "4 commits past the fence"),
        (lambda w: w.change_fence(offsets={0: 999}), "committed ≤ fence ≤ log end", "1 fences past the log"),
    ],
)
def test_each_thing_out_of_step_fails_its_check(
    world: World, capsys: pytest.CaptureFixture[str], step: Step, check: str, said: str
) -> None:
    step(world)
    assert said in failed(capsys).get(check, "nothing found")


def test_a_repair_sends_what_pages_has_and_says_what_it_does_not_mend(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.table.lance.update(where="id = 'w:7#1'", values_sql={"vector": "NULL"})
    world.table.write([embedded("x:1", 0, 2, topic=world.pages_id)], {})
    world.change_fence(vectors="other")
    code, _, err = run(capsys, "--repair")
    assert code == Exit.CHECK_FAILED
    assert "sent 1 pages again and 1 deletions (0 had changed meanwhile)" in err
    assert "not mended by pages that are sent again: one fence" in err
    sent = {r.key: r.value for r in read_to_end(world.cluster, world.corpus.pages)}
    assert sent[b"x:1"] is None
    assert decode(sent[b"w:7"] or b"", Page).key == "w:7"


def test_two_fences_are_not_verified(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.table.lance.add(fence_row(world.table.fence, new_stamp(), None, RULE), on_bad_vectors="null")
    code, out, err = run(capsys, "--json")
    assert (code, out) == (Exit.CHECK_FAILED, "")
    assert "2 fence rows" in err


def test_what_is_in_the_dead_letters_is_a_warning(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    source = world.send("w:77", 2, stored=False)
    world.in_step()
    assert "1 missing" in failed(capsys)["every page"]
    letters = DeadLetters(world.publisher, world.corpus.dead_letters, Metrics("embed"), 100)
    letters.send(
        DeadLetter(world.model.chunks, source.partition, 1, b"w:77", b"x", "model_failed", "no kernel", source)
    )
    assert failed(capsys) == {}
    _, out, _ = run(capsys)
    assert "1 model_failed in embed" in out


@pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0")
def test_a_proof_beside_a_writer_that_cleans_up_is_of_one_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.clean_up.MARGIN_S", 0.1)
    wrote: set[str] = set()

    def go_on(line: str) -> None:
        """A batch and a clean-up while pages are compared, and again while rows are read."""
        phase = line.partition(":")[0]
        if phase != "reading pages" and phase not in wrote:
            wrote.add(phase)
            world.send_all([(f"w:{number}", 1 + number % 3) for number in range(20)])
            clean_up(world.table.lance, timedelta(0), share=1)

    report, bad = verified(world.cluster, world.settings, go_on)
    assert wrote == {"comparing pages", "reading rows"}
    assert (report.ok, bad) == (True, set())
    clean_up(world.table.lance, timedelta(0), share=1)
    assert len(world.table.lance.list_versions()) == 1, "nothing is held once the proof has ended"


def test_without_a_corpus_or_a_table_it_says_so(settings_env: SettingsEnv, capsys: pytest.CaptureFixture[str]) -> None:
    settings_env()
    code, _, err = run(capsys)
    assert (code, err.count("\n")) == (Exit.USAGE, 1)
    assert "nothing to compare with" in err


def test_a_table_of_other_settings_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--unit", "lead")
    assert (code, err.count("\n")) == (Exit.USAGE, 1)
    code, _, err = run(capsys, "--table", "other")
    assert (code, err.count("\n")) == (Exit.USAGE, 1)
    assert "no table other" in err
