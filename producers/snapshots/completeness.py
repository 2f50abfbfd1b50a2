"""Whether a snapshot has been read to its end: every shard finished, every ledger balanced, none left out."""

from __future__ import annotations

import re

from producers.files.progress import Progress
from producers.snapshots.snapshots import Snapshots

_NUMBER = re.compile(r"-(\d{5})\.json\.bz2$")


def missing(snapshots: Snapshots, wiki: str, snapshot: str, pages_topic: str) -> list[str]:
    """What keeps the snapshot from being complete, in words; empty when it is."""
    plan = snapshots.plans.get((wiki, snapshot))
    if plan is None:
        return ["no shard of it has been read"]
    found = snapshots.of(wiki, snapshot)
    problems = [f"{_name(key)} {why}" for key in plan.shards if (why := _unfinished(found.get(key), pages_topic))]
    options = {progress.options for key, progress in found.items() if key in plan.shards}
    if len(options) > 1:
        problems.append(f"its shards were read with different choices: {', '.join(sorted(options))}")
    return [*problems, *_gaps(plan.shards)]


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
