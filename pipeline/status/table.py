"""Draws the view: a row for each stage, and one below it for each of its replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.lag.rates import MINUTE_S, Pace, count, duration, eta, per_second
from pipeline.status.document import Cost, Phase, StageStatus, Status
from pipeline.status.readings import Gpu
from pipeline.status.replicas import ReplicaView, State

NAMES = {
    "produce": "read",
    "live": "read live",
    "mediawiki": "read",
    "chunk": "chunk",
    "embed": "embed",
    "lance": "store",
}
"""The words that every view of a pipeline uses for its stages."""

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
BAR_WIDTH = 30
LONGER_S = 90.0
"""Watched for less, a rate over five minutes is the one over one minute again."""

Cells = Mapping[str, Text]


def draw(status: Status, width: int, most_replicas: int | None = None, note: str = "") -> RenderableType:
    """The view for a terminal this wide; with `most_replicas`, no more of each stage, the worst first."""
    lines = [*_lines(status), *([Text(note)] if note else [])]
    return Group(_title(status), _table(status, width, most_replicas), *_bar(status), *lines)


def line(status: Status) -> str:
    """The view in a line of a log."""
    words = []
    for stage in status.stages:
        if stage.stage == "produce" and stage.items is not None:
            words.append(f"read {stage.items:,} pages")
        elif stage.lag is not None and stage.items is not None:
            rate = per_second(stage.pace.per_second if stage.pace is not None else 0.0)
            name = NAMES.get(stage.stage, stage.stage)
            words.append(f"{name} {stage.items:,} done {rate} lag {stage.lag:,} ETA {eta(stage.eta_s)}")
        silent = len(stage.replicas) - stage.answering
        if silent:
            words.append(f"{stage.stage}: {silent} of {len(stage.replicas)} do not answer")
    share = "" if status.share is None else f" {_share(status.share)}"
    return " | ".join([*words, f"ALL{share} ETA {eta(status.eta_s)}", *status.trouble])


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
        "share": "share",
        **{name: name for name in ("GPU", "progress", "state")},
    }
    columns |= {"partitions": "parts", "GPU": "GPU, GiB"}
    gpu = any(replica.gpus for stage in status.stages for replica in stage.replicas)
    narrow = ("partitions", "long", "behind", "share", *(["items"] if gpu else []))
    told = {stage.lag_s for stage in status.stages} != {None}
    left_out = {*(narrow if width < WIDE else ()), *(() if gpu else ("GPU",)), *(() if told else ("behind",))}
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
        "lag": f"~{stage.lag:,}" if stage.lag and not stage.topic else count(stage.lag),
        "behind": "" if stage.lag_s is None else duration(stage.lag_s),
        "ETA": "" if stage.lag is None else eta(stage.eta_s),
        "share": "" if stage.share is None else _share(stage.share),
    }
    return {**{name: Text(cell, style="bold") for name, cell in cells.items()}, "state": _stage_state(stage)}


def _stage_state(stage: StageStatus) -> Text:
    """The worst that there is to say. Some partitions that wait while others move are a slow stage, not a dead one."""
    if stage.stands_still:
        return Text("stands still", style="bold red")
    if stage.answering < len(stage.replicas):
        return Text(f"{stage.answering} of {len(stage.replicas)} answer", style="bold red")
    if stage.partitions_stalled:
        return Text(f"{stage.partitions_stalled} of {stage.waiting} parts wait", style="yellow")
    if stage.lag == 0 and stage.topic:
        return Text("nothing waits", style="dim")
    if stage.replicas or stage.lag is None or not stage.topic:
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
    """Such as `63%`; 100% only of all of it."""
    return "?" if ratio is None else f"{min(ratio, 0.99 if ratio < 1 else 1):.0%}"


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / 2**30:.0f}"


def _bar(status: Status) -> Iterator[Text]:
    if status.share is not None and status.phase in ("running", "standing still"):
        done = round(BAR_WIDTH * status.share)
        whole = "the source" if status.of_source else "what is in Kafka now"
        bar = ("━" * done, "green"), ("─" * (BAR_WIDTH - done), "dim")
        yield Text.assemble(*bar, f" {_share(status.share)} of {whole}")


def _lines(status: Status) -> Iterable[Text]:
    if status.eta_s:
        unit = "tokens" if any(stage.tokens is not None for stage in status.stages) else "pages"
        whole = "of the source" if status.of_source else "that is in Kafka now"
        yield Text(f"All {whole} is in the table in {duration(status.eta_s)}, by its {unit}.")
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
