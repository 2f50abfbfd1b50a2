"""Leases on old versions of the table, and the disk that they take."""

from __future__ import annotations

from pathlib import Path

from deploy.doctor.context import Context
from deploy.doctor.findings import Finding, in_bytes, ok, warn
from sinks.clean_up import look
from sinks.lease_folder import NoLeases
from sinks.storage import connect, has_table, open_table
from sinks.upkeep import KEEP_VERSIONS


def look_at_leases(context: Context) -> Finding:
    """The check; the sink's clean-up goes by the same rule."""
    location, name = context.settings.lance_location, context.settings.table
    if "://" not in location and not Path(location).is_dir():  # connect() would make it
        return ok("no table yet")
    database = connect(location)
    if not has_table(database, name):
        return ok("no table yet")
    try:
        found = look(open_table(database, name), KEEP_VERSIONS)
    except NoLeases as error:
        return warn(
            f"the leases of table {name} cannot be read: {error}",
            f"give this user the right to read {name}.leases beside the table; without it a clean-up keeps 24 hours",
        )
    odd = [file for file, why in found.void if why != "expired"]
    if odd:
        return warn(
            f"{len(odd)} files beside table {name} are no leases of it, such as {odd[0]}; "
            f"{_kept(found.leases, found.bytes)}",
            f"look at them in {name}.leases, and at who may write there; the sink removes them after an hour",
        )
    return ok(_kept(found.leases, found.bytes))


def _kept(leases: int, held: int) -> str:
    if not leases:
        return "no reader keeps old versions"
    return f"{leases} {'lease keeps' if leases == 1 else 'leases keep'} {in_bytes(held)} of old versions"
