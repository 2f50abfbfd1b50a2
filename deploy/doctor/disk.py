"""The disk: what is free, and what the chosen dump will take of it, and of the time."""

from __future__ import annotations

from pathlib import Path

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, in_bytes, ok, skip, warn
from deploy.local import estimate as estimates
from deploy.local.rate import expected_rate
from deploy.local.stages import this_machine
from pipeline.errors import UsageError
from pipeline.lag.rates import duration
from pipeline.settings import kafka_settings
from producers.fetch.downloads import free_bytes
from producers.fetch.settings import LATEST, MirrorSettings
from producers.run.shards import Shard, find_shards

LEAST_BYTES = 1_000_000_000
"""Logs, a merge of the table and a segment of Kafka need so much even for the sample."""
LITTLE_BYTES = 10_000_000_000
DIMENSION = 384


def _free(context: Context) -> Finding:
    settings = context.settings
    places = {settings.data_dir}
    if "://" not in settings.lance_location:
        places.add(Path(settings.lance_location))
    free, place = min((free_bytes(place), place) for place in places)
    found = f"{in_bytes(free)} free for {place}"
    if free < LEAST_BYTES:
        return fail(found, "make room, or: export CIRROSTREAM_DATA_DIR=/a/larger/disk")
    if free < LITTLE_BYTES:
        return warn(found + "; enough for a small wiki", "for more: export CIRROSTREAM_DATA_DIR=/a/larger/disk")
    return ok(found)


def _estimate(context: Context) -> Finding:
    settings, model = context.settings, known(context.model)
    if not settings.sources and not settings.downloads:
        return skip("no dump was named", "python -m deploy.doctor SOURCE…, or --wiki of a downloaded one, estimates it")
    shards = _shards(context)
    if not shards:
        wiki = settings.wiki if isinstance(settings, MirrorSettings) else ""
        return skip(
            f"no files of {wiki} are downloaded yet",
            f"python -m producers.dumps --wiki {wiki} --list shows what would be downloaded",
        )
    rate, basis = expected_rate(settings.data_dir / "reports", model.tag, this_machine())
    forecast = estimates.forecast(shards, settings, model.dimension or DIMENSION, rate, basis)
    found = (
        f"{forecast.pages:,} pages, {forecast.rows:,} rows: {in_bytes(forecast.disk_bytes)} of disk at most, "
        f"{duration(forecast.seconds)} of embedding at {basis}"
    )
    try:
        estimates.check_disk(forecast, settings, local_kafka=not kafka_settings().bootstrap_servers)
    except UsageError as error:
        return fail(f"{found}; {error}", "export CIRROSTREAM_DATA_DIR=/a/larger/disk, or --limit for fewer pages")
    return ok(found)


def _shards(context: Context) -> list[Shard]:
    """The named files, or what is downloaded of the wiki: of its newest snapshot here, unless one is named."""
    settings = context.settings
    if settings.sources:
        return find_shards(settings.sources, settings.reads.names_for(settings))
    if not isinstance(settings, MirrorSettings):
        return []
    try:
        here = find_shards([str(settings.dumps_folder)], settings.reads.names)
    except UsageError:
        return []
    ours = [shard for shard in here if shard.origin.wiki == settings.wiki]
    newest = max((shard.origin.snapshot for shard in ours), default="")
    snapshot = newest if settings.snapshot == LATEST else settings.snapshot
    return [shard for shard in ours if shard.origin.snapshot == snapshot]


CHECKS = (
    Check("disk.free", _free, "export CIRROSTREAM_DATA_DIR=/a/larger/disk"),
    Check("disk.estimate", _estimate, "python -m deploy.doctor --only disk", ("model.files",), limit_s=120),
)
