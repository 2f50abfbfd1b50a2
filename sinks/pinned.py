"""A table at one version, from the first read to the last: for whoever proves, exports or backs up.

While it is read its version is held by a lease, which a thread renews. The version may go all the same: who may not
write beside the table has no lease, and the writer ends those that hold too much. Then the reader ends and says so;
it never goes on with another version.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from operator import methodcaller

from pipeline.errors import TryAgain
from pipeline.settings import TableSettings
from sinks.lease_folder import LeaseFolder, NoLeases
from sinks.leases import MAX_SECONDS, Lease, encode_lease, version_times
from sinks.reader import Reader

LIFE_S = 3_600.0
"""A reader that was killed holds its version for so long."""
RENEW_S = 300.0
ATTEMPTS = 3
"""A version may go between the look for the newest and the lease on it."""

_NEVER = timedelta(days=3650)


class HeldLease:
    """A lease on one version, from `take` to `give_back`."""

    def __init__(self, table_uri: str, version: int, committed: float, holder: str) -> None:
        self.lost = ""
        """Why it does not hold, as far as its reader knows."""
        self._lease = Lease(version=version, time=committed, expires=0, holder=holder)
        self._name = f"{secrets.token_hex(8)}.json"
        self._uri = table_uri
        self._ends = time.time() + MAX_SECONDS
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> None:
        """Writes the lease, and renews it from now on. One that cannot be written is lost, and no error."""
        try:
            self._write()
        except NoLeases as error:
            self.lost = f"this user could not write a lease on it ({error})"
        else:
            self._thread.start()

    def give_back(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(NoLeases):
            LeaseFolder(self._uri).remove(self._name)

    def renew(self) -> bool:
        """Writes the lease anew; gives whether that is worth another try later."""
        try:
            if not LeaseFolder(self._uri).has(self._name):
                self.lost = "the sink has ended the lease on it: it held more than the sink's --lease-share allows"
                return False
            self._write()
        except NoLeases as error:
            self.lost = f"the lease on it could not be renewed ({error})"
            return True
        self.lost = ""
        if time.time() + RENEW_S < self._ends:
            return True
        self.lost = f"a lease ends after {MAX_SECONDS / 3600:.0f} hours"
        return False

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S) and self.renew():
            pass

    def _write(self) -> None:
        lease = Lease(
            version=self._lease.version,
            time=self._lease.time,
            expires=min(time.time() + LIFE_S, self._ends),
            holder=self._lease.holder,
        )
        LeaseFolder(self._uri).write(self._name, encode_lease(lease))


@dataclass(frozen=True, slots=True)
class PinnedReader(Reader):
    """Reads one version, and raises TryAgain once its files are gone."""

    version: int
    lease: HeldLease

    def _catch_up(self, why: Exception) -> None:
        lost = self.lease.lost or (
            "its lease was not seen: is the sink of an older release, its clock another, or the table made anew?"
        )
        raise TryAgain(
            f"table {self.name}: version {self.version}, which this command was reading, was removed meanwhile: "
            f"{lost}; it ends without a result, run it once more"
        ) from None


@contextmanager
def pinned(settings: TableSettings, command: str) -> Iterator[PinnedReader]:
    """The newest version of the table of these settings, held until the end of the block.

    Raises:
        UsageError: there is no such table.
        TryAgain: here or in any read: the version is gone.
    """
    last = ""
    for _ in range(ATTEMPTS):
        found = Reader.open(settings, _NEVER)
        version = int(found.lance.version)
        committed = found.read(version_times).get(version)
        if committed is None:
            last = f"version {version} was removed"
            continue
        holder = f"{command} on {socket.gethostname()}, process {os.getpid()}"
        lease = HeldLease(str(found.lance.uri), version, committed, holder)
        lease.take()
        try:
            try:
                found.read(methodcaller("checkout", version))
            except TryAgain as error:
                last = str(error)
                continue
            yield PinnedReader(found.lance, found.name, version, lease)
            return
        finally:
            lease.give_back()
    raise TryAgain(
        f"table {settings.table}: {ATTEMPTS} versions could not be pinned, run it once more; the last: {last}"
    )
