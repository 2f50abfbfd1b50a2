"""Compares the table with what was sent: `python -m sinks.verify`. With `--repair`, sends what differs again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
from rich.text import Text

from pipeline import cli
from pipeline.errors import CheckFailed, Exit
from pipeline.kafka import Cluster
from pipeline.resend import resend
from pipeline.terminal import Console, say_aside, write_json
from pipeline.topics import corpus_topics
from sinks.measure.opening import table_quality
from sinks.verify import report as verify_report
from sinks.verify.proof import Say, VerifySettings, verified
from sinks.verify.report import VerifyReport

MOST_PAGES = 200_000
"""More are not a repair: `python -m pipeline.replay --stage chunk` makes all of them again without sending any."""

OF_PAGES = frozenset({"every page", "no extra rows", "unique ids", "vectors"})
"""The checks that `--repair` mends."""

QUALITY_S = 600.0
"""Longest time for the questions of `--quality`: some hundred, a second each at the very worst."""

app = cli.new_app("Proves that the table holds what the corpus says, and nothing else.")


@cli.command(app, VerifySettings)
def verify(settings: VerifySettings) -> int:
    """Compares the table with `pages`, page by page and version by version; exits 1 if any check fails."""
    verify_report.check_target(settings.report)
    with closing(Cluster.connect(settings)) as cluster, _progress() as say:
        report, bad = verified(cluster, settings, say)
        if settings.quality:
            say("asking questions")
            quality = table_quality(settings, settings, seconds=QUALITY_S)
            report = msgspec.structs.replace(report, quality=quality)
        if settings.repair:
            say("repairing")
            for line in _repair(cluster, settings, report, bad):
                say_aside(line)
    if settings.report is not None:
        verify_report.write(report, settings.report)
    if settings.json_output:
        write_json(verify_report.as_json(report))
    else:
        verify_report.show(report, Console())
    return Exit.DONE if report.ok else Exit.CHECK_FAILED


def _repair(cluster: Cluster, settings: VerifySettings, report: VerifyReport, bad: set[bytes]) -> Iterator[str]:
    """Sends the bad pages again; says that, and which failed checks no page can mend."""
    if len(bad) > MOST_PAGES:
        raise CheckFailed(
            f"{len(bad):,} pages are too many to repair: make all of them again with "
            "`python -m pipeline.replay --stage chunk`"
        )
    if bad:
        done = resend(cluster, corpus_topics(settings).pages, bad)
        yield (
            f"sent {done.pages:,} pages again and {done.deletions:,} deletions ({done.overtaken:,} had changed "
            "meanwhile); let the pipeline run until there is no lag, then verify once more"
        )
    others = [check.name for check in report.checks if check.verdict == "failed" and check.name not in OF_PAGES]
    if others:
        yield f"not mended by pages that are sent again: {', '.join(others)}; see docs/runbook.md, The proof fails"


@contextmanager
def _progress() -> Iterator[Say]:
    """A line on a terminal's stderr that says how far it is, at most ten times a second; nothing elsewhere."""
    console = Console(stderr=True)
    with console.status("") as status:
        last = 0.0

        def say(line: str) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1:
                last = time.monotonic()
                status.update(Text(line))

        yield say


if __name__ == "__main__":
    cli.run(app, "sinks.verify")
