"""Draws the view: a row for each stage, and one below it for each of its replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.lag.rates import MINUTE_S, Pace, count, duration, eta, per_second
from pipeline.status.cost import Cost
from pipeline.status.document import Phase, StageStatus, Status
from pipeline.status.readings import Gpu
from pipeline.status.replicas import ReplicaView, State
from pipeline.status.rows import NAMES

STYLES: Mapping[State, str] = {
    "working": "green",
    "idle": "dim",
    "not ready": "yellow",
    "stuck": "bold red",
    "no answer": "bold red",
}
WORST_FIRST: Sequence[State] = ("no answer", "stuck", "not ready", "working", "idle")
PHASES: Mapping[Phase, tuple[str, str]] = {
    "complete": ("ALL COMPLETE: every page in Kafka is in the table, or in the dead letters.", "bold green"),
    "up to date": ("Up to date: nothing waits, and the live producer is at work.", "green"),
    "running": ("", ""),
    "standing still": ("STANDING STILL: there is work, and none of it is being done.", "bold red"),
    "empty": ("Nothing is in Kafka yet: start a producer.", "dim"),
}

WIDE = 100
"""Columns of a terminal that hold the whole table; in a narrower one some of it is left out."""
LONGER_S = 90.0
"""Watched for less, a rate over five minutes is the one over one minute again."""

Cells = Mapping[str, Text]


def draw(status: Status, width: int, most_replicas: int | None = None) -> RenderableType:
    """The view for a terminal this wide; with `most_replicas`, no more of each stage, the worst first."""
    return Group(_title(status), _table(status, width, most_replicas), *_lines(status))


def _title(status: Status) -> Text:
    where = f"{status.namespace} on {status.kafka}" if status.namespace else status.kafka
    at = status.at.replace("T", " ").removesuffix("+00:00")
    return Text(f"{at} UTC  Kafka {where}  model {status.model}", style="dim", overflow="ellipsis", no_wrap=True)


def _table(status: Status, width: int, most: int | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    columns = _columns(status, width)
    for name, heading in columns.items():
        left = name in ("stage", "state")
        table.add_column(heading, justify="left" if left else "right", no_wrap=name != "state", overflow="fold")
    for cells in _rows(status, most):
        table.add_row(*(cells.get(name, Text()) for name in columns))
    return table


def _columns(status: Status, width: int) -> dict[str, str]:
    """The columns that there is room for, with their headings: rates say what they were measured over."""
    watched_s = status.watched_s
    short = "1 min" if watched_s >= MINUTE_S else duration(max(1.0, watched_s))
    long = duration(min(5 * MINUTE_S, watched_s)) if watched_s > LONGER_S else "all"
    columns = {
        **{name: name for name in ("stage", "partitions", "items")},
        "short": f"in {short}",
        "long": f"in {long}",
        "lag": "lag",
        "behind": "behind",
        "ETA": "ETA",
        **{name: name for name in ("GPU", "progress", "state")},
    }
    columns |= {"partitions": "parts", "GPU": "GPU, GiB"}
    gpu = any(replica.gpus for stage in status.stages for replica in stage.replicas)
    narrow = ("partitions", "long", "behind", *(["items"] if gpu else []))
    left_out = {*(narrow if width < WIDE else ()), *(() if gpu else ("GPU",))}
    return {name: heading for name, heading in columns.items() if name not in left_out}


def _rows(status: Status, most: int | None) -> Iterator[Cells]:
    for stage in status.stages:
        yield _stage_cells(stage, status.watched_s)
        replicas = sorted(stage.replicas, key=lambda replica: WORST_FIRST.index(replica.state))
        yield from (_replica_cells(replica, status.watched_s) for replica in replicas[:most])
        if most is not None and len(replicas) > most:
            yield {"stage": Text(f"  … {len(replicas) - most} more", style="dim")}


def _rate(pace: Pace | None) -> str:
    return "" if pace is None else per_second(pace.per_second)


def _long(five: Pace | None, since_start: Pace | None, watched_s: float) -> str:
    """The rate over 5 minutes, when there is more of them than of the one, else over the processes' whole life."""
    return _rate(five if watched_s > LONGER_S else since_start)


def _stage_cells(stage: StageStatus, watched_s: float) -> Cells:
    cells = {
        "stage": NAMES.get(stage.stage, stage.stage),
        "partitions": count(len(stage.partitions) or None),
        "items": count(stage.items),
        "short": _rate(stage.minute),
        "long": _long(stage.five, stage.since_start, watched_s),
        "lag": count(stage.lag),
        "behind": "" if stage.lag_s is None else duration(stage.lag_s),
        "ETA": "" if stage.lag is None else eta(stage.eta_s),
    }
    return {**{name: Text(cell, style="bold") for name, cell in cells.items()}, "state": _stage_state(stage)}


def _stage_state(stage: StageStatus) -> Text:
    """The worst that there is to say. Some partitions that wait while others move are a slow stage, not a dead one."""
    waiting = sum(partition.lag > 0 for partition in stage.partitions)
    if stage.partitions_stalled and stage.partitions_stalled == waiting:
        return Text("stands still", style="bold red")
    if stage.answering < len(stage.replicas):
        return Text(f"{stage.answering} of {len(stage.replicas)} answer", style="bold red")
    if stage.partitions_stalled:
        return Text(f"{stage.partitions_stalled} of {waiting} parts wait", style="yellow")
    if stage.lag == 0:
        return Text("nothing waits", style="dim")
    if stage.replicas or stage.lag is None:
        return Text("")
    return Text(f"{stage.members} elsewhere" if stage.members else "nobody is there", style="yellow")


def _replica_cells(replica: ReplicaView, watched_s: float) -> Cells:
    cells = {
        "stage": f"  {replica.name}",
        "partitions": count(replica.partitions),
        "items": count(replica.items),
        "short": _rate(replica.minute),
        "long": _long(replica.five, replica.since_start, watched_s),
        "GPU": ", ".join(map(_gpu, replica.gpus)),
        "progress": _progress(replica),
    }
    state = Text(_state(replica), style=STYLES[replica.state])
    return {**{name: Text(cell) for name, cell in cells.items()}, "state": state}


def _state(replica: ReplicaView) -> str:
    if replica.state != "no answer":
        return f"{replica.state}: {replica.note}" if replica.note else replica.state
    if replica.note:
        return f"no answer: {replica.note}"
    return "no answer" if replica.answered_s is None else f"no answer for {duration(replica.answered_s)}"


def _progress(replica: ReplicaView) -> str:
    if replica.progressed_s is None:
        return ""
    return f"{'' if replica.progress_seen else '> '}{duration(replica.progressed_s)}"


def _gpu(gpu: Gpu) -> str:
    return f"{_share(gpu.utilization)} {_gib(gpu.memory_used)}/{_gib(gpu.memory_size)}"


def _share(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio:.0%}"


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / 2**30:.0f}"


def _lines(status: Status) -> Iterable[Text]:
    if status.eta_s:
        yield Text(f"All that is in Kafka now is in the table in {duration(status.eta_s)}.")
    if status.dead_letters:
        reasons = _reasons(status.dead_letters_by_reason)
        counted = f" (since the replicas began: {reasons})" if reasons else ""
        yield Text(f"dead letters: {status.dead_letters:,}{counted}", style="yellow")
    if status.drops_by_reason:
        yield Text(f"left out on purpose: {_reasons(status.drops_by_reason)}", style="dim")
    yield from (Text(_cost(cost)) for cost in status.costs)
    yield from (Text(line, style="bold red") for line in status.trouble)
    words, style = PHASES[status.phase]
    if words:
        yield Text(words, style=style)
    yield from (Text(f"  {line}") for line in status.next_steps)


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in counts.items())


def _cost(cost: Cost) -> str:
    gpus = f"{cost.gpu_replicas} GPU replica{'' if cost.gpu_replicas == 1 else 's'}"
    head = f"cost {cost.kind}, {gpus} at {cost.gpu_hour_price:,.2f} an hour: "
    if cost.per_million_chunks is None:
        return head + "not known, " + ("no GPU replica answers" if not cost.gpu_replicas else "nothing moves")
    left = "" if cost.to_finish is None else f", {cost.to_finish:,.2f} to finish"
    return f"{head}{cost.per_million_chunks:,.2f} per million chunks{left}"
