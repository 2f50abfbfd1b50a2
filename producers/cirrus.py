"""`python -m producers.cirrus SOURCE…`: CirrusSearch dumps into `pages`, with an account of every line.

One process reads one shard; this one finds the shards, gives them out, shows how they stand, and says at the end what
became of everything. Killed and started again, it goes on where Kafka had acknowledged.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator

import msgspec
from rich.console import Console

from pipeline import logs
from pipeline.cli import command, new_app
from pipeline.cli import run as run_app
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.service import Service
from pipeline.topics import ensure_corpus
from producers.cirrus_settings import CirrusSettings
from producers.progress import Progress, begin, newest_snapshot, read_progress
from producers.run_account import RunAccount, result
from producers.run_display import Bars, Display, Lines, ledger_table
from producers.shard_job import ShardJob, job_for
from producers.shard_processes import ShardProcesses
from producers.sources import Shard, find_shards

app = new_app("Reads CirrusSearch dumps into Kafka.")


@command(app, CirrusSettings)
def cirrus(settings: CirrusSettings) -> int:
    """Sends the pages of CirrusSearch dumps (.json.bz2, .json.gz, .json) to `pages`, and goes on where it was left."""
    logs.configure()  # first: a logger that is bound before it writes to stdout, where `--json` stands alone
    shards = find_shards(settings.sources)
    with Service("produce", settings) as service:
        run = uuid.uuid4().hex[:16]
        account = RunAccount.of(_plan(settings, shards, run, service))
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


def _plan(settings: CirrusSettings, shards: list[Shard], run: str, service: Service) -> list[tuple[Shard, Progress]]:
    """Where each shard goes on."""
    cluster = Cluster.connect(settings)
    try:
        topics = ensure_corpus(cluster, settings)
        found = read_progress(cluster, topics.progress)
    finally:
        cluster.close()
    service.turned()
    if not settings.allow_older:
        _refuse_older(shards, found)
    for key in (key for key, progress in found.items() if progress is None):
        service.log.warning("progress record not readable: the shard is read again", shard=key)
    return [(shard, _start(settings, shard, found.get(shard.key), run, service)) for shard in shards]


def _refuse_older(shards: list[Shard], found: dict[str, Progress | None]) -> None:
    for shard in shards:
        newest = newest_snapshot(found.values(), shard.origin.wiki)
        if shard.origin.snapshot and shard.origin.snapshot < newest:
            raise UsageError(
                f"{shard.path}: snapshot {shard.origin.snapshot} of {shard.origin.wiki} is older than {newest}, "
                "which was sent before; the newest sent wins, so pages would go back: --allow-older does it"
            )


def _start(settings: CirrusSettings, shard: Shard, before: Progress | None, run: str, service: Service) -> Progress:
    afresh = begin(shard, run, settings.options)
    if before is None or settings.again:
        return afresh
    if difference := before.fits(shard, settings.options):
        service.log.warning("starts over", shard=shard.name, because=difference)
        return afresh
    if not before.finished:
        service.log.info("goes on", shard=shard.name, line=before.line)
    return msgspec.structs.replace(before, run=run)


def _jobs(settings: CirrusSettings, account: RunAccount) -> Iterator[ShardJob]:
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


def _produce(settings: CirrusSettings, account: RunAccount, service: Service) -> None:
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


if __name__ == "__main__":
    run_app(app, "producers.cirrus")
