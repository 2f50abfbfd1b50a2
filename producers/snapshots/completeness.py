"""The check that a snapshot has been read to its end: every shard finished, every ledger balanced, none left out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.errors import CheckFailed
from producers.account import Ledger
from producers.reader import UNREADABLE
from producers.run.progress import Progress
from producers.snapshots.snapshots import Snapshots

_NUMBER = re.compile(r"-(\d{5})\.json\.bz2$")


def missing(snapshots: Snapshots, wiki: str, snapshot: str, pages_topic: str) -> list[str]:
    """Reasons why the snapshot is not complete, in words; none when it is."""
    plan = snapshots.plans.get((wiki, snapshot))
    if plan is None:
        return ["no shard of it has been read"]
    found = snapshots.of(wiki, snapshot)
    problems = [f"{_name(key)} {why}" for key in plan.shards if (why := _unfinished(found.get(key), pages_topic))]
    options = {progress.options for key, progress in found.items() if key in plan.shards}
    if len(options) > 1:
        problems.append(f"its shards were read with different choices: {', '.join(sorted(options))}")
    return [*problems, *_gaps(plan.shards)]


def unreadable(ledger: Ledger) -> int:
    """Entries that no page could be made of, though the wiki may have it."""
    return sum(ledger.malformed.values()) + sum(ledger.dropped.get(reason, 0) for reason in UNREADABLE)


def unnamed(shards: Mapping[str, Progress]) -> dict[str, int]:
    """Per shard, by its file's name: entries that could not be read and name no page; those with none are left out.

    Of a shard that an earlier version read, all that it could not read: it wrote no ids down.
    """
    found = {_name(key): _unnamed(progress) for key, progress in shards.items()}
    return {name: count for name, count in found.items() if count}


def refuse_unreadable(name: str, shards: Mapping[str, Progress], accepted: int) -> None:
    """Refuses to call a page gone while more entries than these may be any page.

    Raises:
        CheckFailed: there are more.
    """
    found = unnamed(shards)
    count = sum(found.values())
    if count <= accepted:
        return
    where = ", ".join(f"{number:,} in {shard}" for shard, number in sorted(found.items(), key=lambda f: -f[1])[:5])
    old = any(progress.shape is None for progress in shards.values())
    again = "read it again, for an earlier version noted no ids (nothing is sent twice); or " if old else ""
    raise CheckFailed(
        f"{name}: {count:,} entries could not be read and do not say which page they are ({where}), so what seems to "
        f"be gone may be there: nothing was deleted. See `python -m producers.ledger`; {again}fetch these files again; "
        f"or let --accept-unreadable {count} take such pages for gone"
    )


def _unnamed(progress: Progress) -> int:
    return unreadable(progress.ledger) if progress.shape is None else progress.shape.unnamed


def _unfinished(progress: Progress | None, pages_topic: str) -> str:
    if progress is None:
        return "has not been read"
    if progress.pages_topic != pages_topic:
        return "was sent to a topic `pages` that is no more"
    if not progress.finished:
        return f"was read up to line {progress.line:,}" + (f" and is {progress.damage}" if progress.damage else "")
    return "" if progress.ledger.balanced else "has a ledger that does not balance"


def _gaps(shards: tuple[str, ...]) -> list[str]:
    """Numbers that are left out: today's dumps count their shards from 00000."""
    numbers = {int(found[1]) for key in shards if (found := _NUMBER.search(key))}
    return [f"shard {n:05} is not there" for n in sorted(set(range(max(numbers, default=-1))) - numbers)]


def _name(key: str) -> str:
    return key.rpartition("/")[2]
