"""A run of a producer of files: one process reads one file, this one gives them out and accounts for them.

Killed and started again, a run goes on where Kafka had acknowledged.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from rich.console import Console

from pipeline import logs
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain
from pipeline.kafka import Cluster
from pipeline.service import Service
from pipeline.topics import ensure_corpus
from producers.file_settings import FileSettings
from producers.page_reader import FileKind, S
from producers.progress import Progress, begin, read_progress
from producers.run_account import RunAccount, result
from producers.run_display import Bars, Display, Lines, ledger_table
from producers.shard_job import ShardJob, job_for
from producers.shard_processes import ShardProcesses
from producers.sources import Shard, find_shards

Before = Mapping[str, Progress | None]
"""What `progress` has of earlier runs, by the key of the shard; None for a record that cannot be read."""

Check = Callable[[Sequence[Shard], Before], None]


def _nothing_to_check(_: Sequence[Shard], __: Before) -> None:
    pass


def produce(kind: FileKind[S], settings: S, check: Check = _nothing_to_check) -> int:
    """Sends the pages of the sources of `settings` to `pages`, and goes on where it was left.

    `check` sees the shards and their progress before anything is sent, and may raise.
    """
    logs.configure()  # first: a logger that is bound before it writes to stdout, where `--json` stands alone
    shards = find_shards(settings.sources, kind.names)
    with Service("produce", settings) as service:
        run = uuid.uuid4().hex[:16]
        before = _progress_before(kind.name, settings, service)
        check(shards, before)
        plan = [(shard, _start(settings, shard, before.get(shard.key), run, service)) for shard in shards]
        account = RunAccount.of(plan)
        skipped = sum(shard.state == "skipped" for shard in account.shards.values())
        service.log.info("planned", run=run, shards=len(shards), finished_before=skipped)
        service.ready = True
        _produce(settings, account, service)
        if settings.json_output:
            print(msgspec.json.encode(result(account, run)).decode())
        else:
            Console(width=None if sys.stdout.isatty() else 120).print(ledger_table(account))
    _raise_failures(account)
    return Exit.DONE


def _progress_before(kind: str, settings: FileSettings, service: Service) -> Before:
    cluster = Cluster.connect(settings)
    try:
        found = read_progress(cluster, ensure_corpus(cluster, settings).progress, kind)
    finally:
        cluster.close()
    service.turned()
    for key in (key for key, progress in found.items() if progress is None):
        service.log.warning("progress record not readable: the shard is read again", shard=key)
    return found


def _start(settings: FileSettings, shard: Shard, before: Progress | None, run: str, service: Service) -> Progress:
    afresh = begin(shard, run, settings.options)
    if before is None or settings.again:
        return afresh
    if difference := before.fits(shard, settings.options):
        service.log.warning("starts over", shard=shard.name, because=difference)
        return afresh
    if not before.finished:
        service.log.info("goes on", shard=shard.name, line=before.line)
    return msgspec.structs.replace(before, run=run)


def _jobs(settings: FileSettings, account: RunAccount) -> Iterator[ShardJob]:
    chosen = settings.model_dump_json(exclude={"sources"})
    for shard in account.shards.values():
        if shard.state == "skipped":
            continue
        limit = None
        if settings.limit is not None:
            left = settings.limit - account.ledger.produced
            if left <= 0:
                return
            limit = shard.ledger.produced + left
        yield job_for(shard.shard, shard.start, chosen, limit)


def _produce(settings: FileSettings, account: RunAccount, service: Service) -> None:
    # With a limit one after the other: the same pages every time, and never one too many.
    at_once = 1 if settings.limit is not None else min(settings.processes or _cores(), _cores())
    with ShardProcesses(_jobs(settings, account), at_once) as processes, _display(service) as display:
        for event in processes.events():
            if event is not None:
                account.take(event, service.metrics)
                service.turned()  # reports come while a shard's loop turns, so a silent one ends in the watchdog
            if service.stopping.is_set() or account.hopeless:
                processes.stop()
            display.show(account)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _display(service: Service) -> Display:
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(service.log)


def _raise_failures(account: RunAccount) -> None:
    failures = account.failures
    if not failures:
        return
    kinds: dict[int, type[CirrostreamError]] = {Exit.FATAL: Fatal, Exit.TRY_AGAIN: TryAgain}
    lines = dict.fromkeys(failure.error for failure in failures)
    raise kinds.get(account.exit_code, CheckFailed)("\nerror: ".join(lines))
