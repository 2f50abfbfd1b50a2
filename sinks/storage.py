"""LanceDB's storage: how tables are opened and read, and what it means when that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lancedb
from lancedb.table import LanceTable

from pipeline.errors import CirrostreamError, Fatal, TryAgain
from pipeline.library_errors import LibraryError, library_errors, panic_line
from pipeline.service import Watch, unwatched
from pipeline.settings import MIB
from sinks.fence import Stamp, Stamped, decode_fence
from sinks.rows import FENCE_ROW
from sinks.schema import checked

CACHE_BYTES = 16 * MIB
"""Each of a writer's two caches. Over 500 merges: 566 MB with LanceDB's defaults, 375 MB and flat with this."""

READ_SECONDS = 300.0
"""Longest that one read may take: object storage is asked again for three minutes."""

Pause = Callable[[float], None]


def connect(
    location: str,
    *,
    consistency: timedelta = timedelta(0),
    index_cache_bytes: int = CACHE_BYTES,
    metadata_cache_bytes: int = CACHE_BYTES,
) -> lancedb.DBConnection:
    """LanceDB's folder or bucket, with caches small enough for a process that lives for months.

    Raises:
        Fatal: there can be none at that place.
    """
    session = lancedb.Session(index_cache_size_bytes=index_cache_bytes, metadata_cache_size_bytes=metadata_cache_bytes)
    try:
        with library_errors():
            return lancedb.connect(location, read_consistency_interval=consistency, session=session)
    except LibraryError as error:
        raise storage_fault(location, error) or Fatal(f"{location}: not a place for tables: {error}") from None


def open_table(database: lancedb.DBConnection, name: str) -> LanceTable:
    """The table, whose columns are ours (`schema.checked`).

    Raises:
        Fatal: there is no such table, or it cannot be used.
        UsageError: it is another program's.
        TryAgain: the storage does not answer.
    """
    table = _opened(database, name)
    if table is None:
        raise Fatal(f"there is no table {name} in {database.uri}; sinks.lance makes it")
    if not isinstance(table, LanceTable):
        raise Fatal(f"{database.uri} is a LanceDB service, not a folder or a bucket: set CIRROSTREAM_LANCE_URI")
    checked(retried(lambda: table.schema, name), name)
    return table


def has_table(database: lancedb.DBConnection, name: str) -> bool:
    """True when there is a table of this name, ours or not."""
    return _opened(database, name) is not None


def _opened(database: lancedb.DBConnection, name: str) -> lancedb.table.Table | None:
    try:
        with library_errors():
            return database.open_table(name)
    except LibraryError as error:
        if error.says("was not found"):
            return None
        raise no_answer(name, "opened", error) from None


def read_fence(lance: LanceTable, pause: Pause = time.sleep, watch: Watch = unwatched) -> Stamped:
    """Stamp and fence of the table as it is now.

    Raises:
        Fatal: the table is gone, or has no fence row or several.
    """
    name = str(lance.name)
    rows = retried(
        lambda: lance.search().where(FENCE_ROW).select(["stamp", "fence"]).to_arrow().to_pylist(), name, pause, watch
    )
    if len(rows) != 1:
        raise Fatal(f"table {name} has {len(rows)} fence rows instead of one: it is damaged or not ours; use another")
    return Stamped(Stamp(rows[0]["stamp"]), decode_fence(rows[0]["fence"], name))


def retried(read: Callable[[], Any], table: str, pause: Pause = time.sleep, watch: Watch = unwatched) -> Any:
    """The answer of a read, which may fail for a moment when an old version is cleaned up or the storage is slow.

    Raises:
        Fatal: the table is gone, the storage refuses us, or LanceDB panics.
        TryAgain: four tries failed.
    """
    for attempt in range(4):
        try:
            with watch(f"reading table {table}", READ_SECONDS), library_errors():
                return read()
        except LibraryError as error:
            last = error
            if fault := storage_fault(table, error):
                raise fault from None
        pause(0.1 * 4**attempt)
    raise no_answer(table, "read", last)


def no_answer(table: str, doing: str, error: LibraryError) -> CirrostreamError:
    """The error that ends a process whose table cannot be `opened`, `read` or `made`."""
    if error.panicked:
        return panic_line(f"table {table}", f"being {doing}", error)
    return storage_fault(table, error) or TryAgain(f"table {table}: cannot be {doing}: {error}")


def quoted(text: str) -> str:
    """A string literal of DataFusion's SQL, which knows no escape but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


def storage_fault(table: str, error: LibraryError) -> Fatal | None:
    """The fault that the operator must mend, if this error tells of one."""
    remedies = {
        "/_versions": "it vanished under its writer; if that was meant, start sinks.lance again: it tells what to do",
        "No space left": "the disk is full; make room, then start again: nothing was lost",
        "File too large": "the file system or a limit (ulimit -f) refuses larger files; raise it, then start again",
        "Disk quota": "the disk quota is used up; make room, then start again: nothing was lost",
        "Read-only file system": "its file system is read-only; make it writable, then start again",
        "Permission denied": "this user may not write there; change owner or CIRROSTREAM_LANCE_URI, then start again",
        "Not a directory": "its place is not a folder; choose another CIRROSTREAM_LANCE_URI",
    }
    for mark, remedy in remedies.items():
        if error.says(mark) and (mark != "/_versions" or error.says("Not found")):
            return Fatal(f"table {table}: {remedy} ({error})")
    return None
