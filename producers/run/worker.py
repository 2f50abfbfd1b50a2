"""One process reads one shard at a time. Started by the producers of files, not by hand.

`python -m producers.run.worker SOURCE` takes jobs on stdin and gives reports on stdout. It ends itself when stdin does:
a parent that was killed leaves no child behind.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from pathlib import Path

import msgspec
import structlog
from kafka.errors import KafkaError

from pipeline import logs
from pipeline.errors import CirrostreamError, Exit, one_line
from pipeline.kafka import Cluster
from pipeline.kafka_errors import in_words
from pipeline.publisher import Publisher
from pipeline.settings import Settings
from producers.run.processes import STOP, Report, ShardJob
from producers.run.shard import LINGER_MS, MAX_BYTES_IN_FLIGHT, ReportTo, ShardRun
from producers.run.shards import Origin, Shard
from producers.run.source import source_named

SWITCH_SECONDS = 0.000_05
"""The decompressing thread needs the interpreter for an instant after each block, and waits for it this long while
another makes pages. With Python's 5 ms that was a fifth of its time, with half a millisecond as much: two threads ask
at once, and the other one gets it."""


class Connection:
    """The process' publisher, kept from shard to shard: making one takes as long as reading 5 MB."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._publisher: Publisher | None = None

    def publisher(self, settings: Settings) -> Publisher:
        """All jobs of a process are of one run, so its settings are always the same."""
        if self._publisher is None:
            self._cluster = Cluster.connect(settings)
            self._publisher = Publisher(self._cluster, max_bytes_in_flight=MAX_BYTES_IN_FLIGHT, linger_ms=LINGER_MS)
        return self._publisher

    def drop(self) -> None:
        """Ends it, with what a shard that failed may have left in it; the next shard gets another."""
        publisher, cluster, self._publisher, self._cluster = self._publisher, self._cluster, None, None
        if publisher is not None:
            publisher.abandon()
        if cluster is not None:
            cluster.close()


def run_job(
    job: ShardJob, source_name: str, connection: Connection, stopping: threading.Event, report: ReportTo
) -> Exit:
    """Reads the job's shard, a file of this source, and reports its end; every error becomes the last report."""
    shard_run: ShardRun | None = None
    try:
        source = source_named(source_name)
        settings = source.settings(**msgspec.json.decode(job.settings))
        publisher = connection.publisher(settings)
        start = job.start
        shard = Shard(source.name, Path(job.path), Origin(start.wiki, start.snapshot), start.size, start.checksum)
        reader, gate = source.reader(shard, settings), source.gate(settings, job)
        shard_run = ShardRun(job, settings, reader=reader, gate=gate, publisher=publisher, report=report)
        shard_run.report(shard_run.run(stopping))
        return Exit.DONE
    except CirrostreamError as error:
        message, code = str(error), error.exit_code
    except KafkaError as error:
        problem = in_words(error, f"{job.path}: Kafka")
        message, code = str(problem), problem.exit_code
    except OSError as error:
        message, code = f"{job.path}: {error.strerror or error}", Exit.CHECK_FAILED
    except Exception as error:  # noqa: BLE001 - the parent says it in one line
        structlog.get_logger().debug("unexpected", exc_info=True)
        message, code = (
            f"{job.path}: {one_line(error)} (a bug; please report it)",
            Exit.FATAL,
        )
    connection.drop()
    if shard_run is not None:
        shard_run.report("failed", message, code)
    else:
        report(Report(state="failed", ledger=job.start.ledger, bytes_read=0, error=message, exit_code=code))
    return code


def main() -> int:
    """The child's side of the pipes: job after job, until the parent closes its end or says stop."""
    stopping = threading.Event()
    sys.setswitchinterval(SWITCH_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who says what to do
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    reports = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not garble the reports
    logs.configure()
    jobs: queue.SimpleQueue[ShardJob] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, stopping), name="parent", daemon=True).start()
    connection, code, source_name = Connection(), Exit.DONE, sys.argv[1]
    with contextlib.suppress(Exception):  # it is met again in the first job, and reported there
        source_named(source_name)  # loads its libraries, while the parent finds out what there is to do
    while True:
        # Also when the word to stop came with it: a job that was given is answered.
        code = run_job(
            jobs.get(),
            source_name,
            connection,
            stopping,
            lambda report: _write_line(reports, msgspec.json.encode(report)),
        )
        if stopping.is_set():
            break
    connection.drop()
    return code


def _listen(jobs: queue.SimpleQueue[ShardJob], stopping: threading.Event) -> None:
    """Waits for the parent's word, or its end."""
    heard = b""
    while True:
        # Not sys.stdin: a thread that waits in it keeps the interpreter from ending.
        if not (more := os.read(0, 65_536)):
            os._exit(Exit.TRY_AGAIN)
        *lines, heard = (heard + more).split(b"\n")
        for line in lines:
            if line == STOP.rstrip():
                stopping.set()
            else:
                jobs.put(msgspec.json.decode(line, type=ShardJob))


def _write_line(descriptor: int, data: bytes) -> None:
    rest = memoryview(data + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    sys.exit(main())
