"""The table: its place can be written, it is of this model and these topics, and nobody else is writing it."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, ok, skip, warn
from deploy.doctor.languages import look_at_languages
from deploy.doctor.machines import groups, is_local, members_of
from deploy.doctor.table_leases import look_at_leases
from deploy.doctor.topics import topic_name
from deploy.doctor.vocabulary import look_at_vocabulary
from pipeline.errors import Fatal
from pipeline.library_errors import LibraryError, library_errors
from pipeline.topics import corpus_topics, lance_group, topic_ids
from sinks.fence import Fence, refuse_other_model
from sinks.schema import Columns, checked, shortened
from sinks.start import accepted, read_offsets, start_positions
from sinks.storage import connect, has_table, open_table, read_fence
from sinks.upkeep import TAG_REMEDY

RECENT_S = 120.0
"""A table that changed since has a writer, or had one until a moment ago."""


def _place(context: Context) -> Finding:
    location = context.settings.lance_location
    return _local_place(Path(location)) if "://" not in location else _remote_place(location)


def _local_place(folder: Path) -> Finding:
    """Writes and deletes a file where the table is, or in the folder that will get its folder."""
    place = folder.expanduser()
    while not place.exists():
        place = place.parent
    probe = place / f".doctor-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        return fail(
            f"{place} cannot be written: {error.strerror or error}",
            f"ls -ld {place}; give this user the folder (sudo chown $USER {place}), or: "
            "export CIRROSTREAM_LANCE_URI=/another/folder",
        )
    return ok(f"{folder} can be written" if place == folder else f"{folder} can be made in {place}")


def _remote_place(location: str) -> Finding:
    """Makes and drops a table of its own: the same code, credentials and conditional writes as the sink's."""
    name = f"doctor_probe_{uuid.uuid4().hex[:8]}"
    database = connect(location)
    try:
        with library_errors():
            database.create_table(name, [{"n": 1}])
            rows = database.open_table(name).count_rows()
    except LibraryError as error:
        return fail(f"{location} cannot be written: {error}", _credentials(location))
    finally:
        with contextlib.suppress(LibraryError), library_errors():
            database.drop_table(name)
    return ok(f"{location} can be written ({rows} row written, read and deleted)")


def _credentials(location: str) -> str:
    if location.startswith("s3"):
        return "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=… and AWS_ENDPOINT if it is not Amazon's"
    if location.startswith("gs"):
        return "export GOOGLE_APPLICATION_CREDENTIALS=/path/to/key.json, or use the machine's own identity"
    return "correct CIRROSTREAM_LANCE_URI, or give this process the right to write there"


def _fence(context: Context) -> Finding:
    settings, model = context.settings, known(context.model)
    location, name = settings.lance_location, settings.table
    if "://" not in location and not Path(location).is_dir():  # connect() would make it
        return ok(f"no table {name} in {location} yet; the sink makes it")
    database = connect(location)
    if not has_table(database, name):
        return ok(f"no table {name} in {location} yet; the sink makes it")
    lance = open_table(database, name)
    found = read_fence(lance).fence
    mine = Fence(
        model=model.tag,
        dimension=model.dimension or found.dimension,
        vector_type=settings.vector_type,
        vectors=found.vectors,
        pages=found.pages,
    )
    try:
        refuse_other_model(found, mine, name)
    except Fatal as error:
        return fail(str(error), f"export CIRROSTREAM_TABLE={name}-{settings.unit}-2, or the settings it was made with")
    context.fence = found
    what = f"table {name}: {found.model}, {found.dimension} x {found.vector_type}, its fence is readable"
    return _touched(what, checked(lance.schema, name), sorted(lance.tags.list()))


def _touched(what: str, columns: Columns, tags: list[str]) -> Finding:
    """The table is usable; says what its user, or another release, has made of its columns, and which tags it has."""
    if columns.missing:
        return warn(
            f"{what}; it lacks the columns {shortened(field.name for field in columns.missing)}",
            "start sinks.lance: it adds them, and fills those that searches by words need (docs/upgrading.md)",
        )
    if tags:
        return warn(f"{what}; tags keep every old version on disk: {', '.join(tags)}", TAG_REMEDY)
    if columns.extra:
        what += f"; columns of others, kept and empty in the rows that the sink writes: {', '.join(columns.extra)}"
    return ok(what)


def _start(context: Context) -> Finding:
    """Foretells the start of `sinks.lance` by the same rules: topics made anew, records that are gone."""
    cluster, settings = known(context.cluster), context.settings
    pages, vectors = corpus_topics(settings).pages, topic_name(context, "vectors")
    try:
        ids = topic_ids(cluster, [pages, vectors])
    except Fatal:
        if context.fence is not None and not settings.adopt:
            return fail(
                "the table was filled from topics that this Kafka does not have",
                "export KAFKA_BOOTSTRAP_SERVERS=the old Kafka; to fill it on from this: python -m sinks.lance --adopt",
            )
        return ok("the topics are not there yet: the sink begins at their first record")
    logs = read_offsets(cluster, lance_group(settings, settings.table), vectors)
    fence = context.fence
    try:
        if fence is not None:
            fence = accepted(fence, ids[pages], ids[vectors], adopt=settings.adopt)
        start_positions(None if fence is None else fence.offsets, logs, rebuild=settings.rebuild)
    except Fatal as error:
        option = "--adopt" if "made anew" in str(error) else "--rebuild"
        return fail(str(error), f"python -m sinks.lance {option}, once; docs/runbook.md says what follows")
    return ok("table and topics fit together: a sink can go on where the last one ended")


def _writer(context: Context) -> Finding:
    settings, cluster = context.settings, context.cluster
    members = members_of(cluster, groups(context)["lance"]) if cluster is not None else []
    if members:
        return warn(
            f"a sink on {members[0]} is writing table {settings.table}; a second one takes it over, and the first ends",
            "stop it first (python -m deploy.local stop on its machine), or leave the sink to it",
        )
    changed = _changed(settings.lance_location, settings.table)
    if changed is not None and (age := time.time() - changed) < RECENT_S:
        return warn(
            f"table {settings.table} changed {max(0, age):.0f} s ago: somebody may be writing it",
            "wait a little and look again: python -m deploy.doctor --only table.writer",
        )
    if cluster is None and not is_local(settings.lance_location):
        return skip("without Kafka it cannot be told whether somebody writes a table in a bucket")
    return ok("nobody writes it")


def _changed(location: str, name: str) -> float | None:
    """The time at which the newest version of a table in a folder was written."""
    if "://" in location:
        return None
    times = []
    for manifest in (Path(location) / f"{name}.lance" / "_versions").glob("*.manifest"):
        with contextlib.suppress(OSError):
            times.append(manifest.stat().st_mtime)
    return max(times, default=None)


AGAIN = "python -m deploy.doctor --only table"
CHECKS = (
    Check("table.place", _place, "correct CIRROSTREAM_LANCE_URI", limit_s=60),
    Check("table.fence", _fence, "export CIRROSTREAM_TABLE=another", ("table.place", "model.files"), 60),
    Check("table.start", _start, AGAIN, ("table.fence", "kafka.connection"), 60),
    Check("table.writer", _writer, AGAIN, ("table.place", "model.files")),
    Check("table.leases", look_at_leases, AGAIN, ("table.fence",), 60),
    Check("table.vocabulary", look_at_vocabulary, AGAIN, ("table.fence",), 60),
    Check("table.languages", look_at_languages, AGAIN, ("table.fence",), 60),
)
