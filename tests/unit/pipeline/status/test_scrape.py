"""What is learned from the processes' own metrics, and that no process can hold up whoever asks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.announcements import announced
from pipeline.service import Service
from pipeline.settings import ServiceSettings
from pipeline.status import scrape
from pipeline.status.readings import MOST_REASONS, Reading, parse
from pipeline.status.scrape import ask

Talk = Callable[[socket.socket], None]


@pytest.fixture
def server() -> Iterator[Callable[[Talk], str]]:
    """`server(talk)` gives the address of a server that talks so to everybody who connects."""
    listeners: list[socket.socket] = []

    def start(talk: Talk) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def say(body: bytes, head: bytes = b"HTTP/1.0 200 OK\r\n\r\n") -> Talk:
    """Answers so at once, and hangs up."""

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(head + body)

    return talk


def drip(connection: socket.socket) -> None:
    """Is never done: a byte now and then, for as long as somebody listens."""
    with connection:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"#")
                time.sleep(0.05)
        except OSError:
            return


def test_a_services_counters_are_read_where_it_announces_itself(tmp_path: Path) -> None:
    with Service("embed", ServiceSettings(announce_dir=tmp_path, metrics_port=0)) as service:
        service.metrics.count(7)
        service.metrics.count(2, event="stale")
        service.metrics.tokens.inc(1_000)
        service.metrics.assigned_partitions.set(4)
        service.metrics.dead_letter("too_large")
        [process] = announced(tmp_path)
        reading = ask([process.address])[process.address]
    assert (reading.stage, reading.records, reading.tokens, reading.assigned) == ("embed", 7, 1_000, 4)
    assert reading.dead_letters == {"too_large": 1}
    assert reading.started is not None
    assert time.time() - 3600 < reading.started <= time.time()
    assert announced(tmp_path) == []
    assert ask([process.address]) == {}, "nobody answers there any more"


def test_a_process_that_takes_the_call_and_says_nothing_costs_one_second_for_all_of_them(
    server: Callable[[Talk], str],
) -> None:
    """As a stopped process does (SIGSTOP): the kernel takes the connection for it."""
    silent = socket.create_server(("127.0.0.1", 0))
    good = server(say(b'cirrostream_records_total{stage="embed",event="done"} 3\n'))
    began = time.monotonic()
    answers = ask([f"127.0.0.1:{silent.getsockname()[1]}", good, server(drip), "127.0.0.1:1", "no.such.host.invalid:1"])
    assert answers == {good: Reading("embed", records=3)}
    assert time.monotonic() - began < 10 * scrape.TIMEOUT_S
    silent.close()


@pytest.mark.parametrize(
    "talk",
    [
        say(b"x 1\n", head=b"HTTP/1.0 503 Service Unavailable\r\n\r\n"),
        say(b"SSH-2.0-OpenSSH_9.9\r\n", head=b""),
        say(b"cirrostream_ready one\n"),
        say(b"# " + b"x" * (scrape.LARGEST_ANSWER + 1)),
    ],
    ids=["error", "another protocol", "not metrics", "too large"],
)
def test_an_answer_that_is_none_counts_as_none(server: Callable[[Talk], str], talk: Talk) -> None:
    assert ask([server(talk)]) == {}


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:port", "127.0.0.1:99999", "[::1:9400", "ü:1"])
def test_an_address_that_is_none_counts_as_nobody(address: str) -> None:
    assert ask([address]) == {}


def test_what_a_label_says_reaches_a_terminal_without_its_control_characters_and_in_part() -> None:
    lines = [f'cirrostream_drops_total{{stage="e\x1b[31m",reason="r{n}"}} {n}' for n in range(1, 1000)]
    reading = parse("\n".join(lines))
    assert reading.stage == "e[31m"
    assert len(reading.drops) == MOST_REASONS


def test_numbers_that_are_none_are_left_out() -> None:
    reading = parse('cirrostream_assigned_partitions{stage="embed"} NaN\ncirrostream_ready{stage="embed"} +Inf\n')
    assert (reading.assigned, reading.ready) == (None, None)


def test_a_gpu_is_read_with_what_its_driver_tells() -> None:
    reading = parse(
        'cirrostream_gpu_utilization_ratio{gpu="0",stage="embed"} 0.5\n'
        'cirrostream_gpu_memory_used_bytes{gpu="1",stage="embed"} 1024\n'
        'cirrostream_build_info{stage="embed",device="cuda:0",version="1"} 1\n'
    )
    assert [(gpu.utilization, gpu.memory_used) for gpu in reading.gpus] == [(0.5, None), (None, 1024)]
    assert reading.device == "cuda:0"
