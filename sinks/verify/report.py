"""The result of a verification in its three forms: a table for the terminal, JSON, Markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from rich.table import Table
from rich.text import Text

from pipeline.errors import TryAgain, UsageError
from pipeline.terminal import Console, plain
from sinks.measure.quality_report import quality_markdown, quality_table
from sinks.measured import Quality

MAX_EXAMPLES = 10

Verdict = Literal["ok", "warning", "failed"]

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}
_ASCII_MARKS = {"ok": "ok", "warning": "!", "failed": "NO"}
"""For terminals on which the two others would both be `?`."""
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One property of the table, and whether it holds."""

    name: str
    verdict: Verdict
    figures: str
    problems: int = 0
    examples: tuple[str, ...] = ()
    """Of the problems, `MAX_EXAMPLES` at most."""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of one verification."""

    ok: bool
    table: str
    model: str
    pages: int
    """Live pages in `pages`."""
    rows: int
    """Live rows in the table."""
    seconds: float
    checks: tuple[Check, ...]
    quality: dict[str, Quality] = {}
    """Mode of search, and `mode/kind` of question -> how well pages are found; with `--quality` alone."""


@dataclass(slots=True)
class Problems:
    """Counts what is wrong by kind, and keeps a few of each for the reader."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        # A few of each kind: ten of the first kind would hide the others.
        if self.counts[kind] <= 3 and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)

    def check(self, name: str, figures: str, worst: Verdict = "failed") -> Check:
        """The check of this name: it holds when nothing was added."""
        total = self.counts.total()
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.most_common())
        return Check(
            name=name,
            verdict=worst if total else "ok",
            figures=f"{figures}: {kinds}" if total else figures,
            problems=total,
            examples=tuple(self.examples),
        )


def show(report: VerifyReport, console: Console) -> None:
    """One line a check, examples under those that do not hold, and the verdict."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    marks = _ASCII_MARKS if console.options.ascii_only else _MARKS
    for check in report.checks:
        text = Text(check.figures)
        for example in check.examples:
            text.append(f"\n{example}", style="dim")
        table.add_row(Text(marks[check.verdict], style=_COLOURS[check.verdict]), check.name, text)
    console.print(table)
    if report.quality:
        console.print(quality_table(report.quality))
    console.print(Text(verdict(report), style="bold green" if report.ok else "bold red"))


def verdict(report: VerifyReport) -> str:
    """The last line."""
    failed = [check.name for check in report.checks if check.verdict == "failed"]
    what = f"{report.pages:,} pages, {report.rows:,} rows in table {report.table}, {report.seconds:.1f} s"
    if not failed:
        return f"verified: {what}"
    return f"NOT verified: {len(failed)} of {len(report.checks)} checks failed ({', '.join(failed)}); {what}"


def as_json(report: VerifyReport) -> str:
    """One JSON document."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def as_markdown(report: VerifyReport) -> str:
    """A page with a table of the checks."""
    lines = [
        "# Verification",
        "",
        verdict(report),
        "",
        f"Model: `{report.model}`",
        "",
        "| | check | figures |",
        "|---|---|---|",
    ]
    lines += [f"| {_MARKS[check.verdict]} | {check.name} | {_cell(check.figures)} |" for check in report.checks]
    for check in report.checks:
        if check.examples:
            lines += ["", f"## {check.name}: {check.problems:,}", ""]
            lines += [f"- {_cell(example)}" for example in check.examples]
    if report.quality:
        lines += ["", "## Searches", "", *quality_markdown(report.quality)]
    return "\n".join(lines) + "\n"


def check_target(path: Path | None) -> None:
    """Refuses a report file that could not be written, before an hour is spent.

    Raises:
        UsageError: its name ends otherwise, or its folder is not there.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".md", ".json"):
        raise UsageError(f"--report {path}: name it .md or .json")
    if not path.parent.is_dir():
        raise UsageError(f"--report {path}: there is no folder {path.parent}")


def write(report: VerifyReport, path: Path) -> None:
    """Writes the report as its suffix says. Raises TryAgain when the disk does not want it."""
    text = as_json(report) if path.suffix.lower() == ".json" else as_markdown(report)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TryAgain(f"--report {path}: {error.strerror}") from error


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
