"""An examination for people, line by line as it goes, and for programs, as one document."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from deploy.doctor.findings import Result, Verdict
from pipeline.addresses import without_secrets

NAME_WIDTH = 20


def lines(result: Result) -> str:
    """`fail  kafka.listener  what was found`, and the remedy on the line below."""
    finding = result.finding
    first = f"{finding.verdict.value:<4}  {result.name:<{NAME_WIDTH}}  {finding.found}"
    return f"{first}\n{'':<{NAME_WIDTH + 8}}-> {finding.remedy}" if finding.remedy else first


def total(results: Sequence[Result], *, strict: bool) -> str:
    """The last line."""
    counted = Counter(result.finding.verdict for result in results)
    counts = ", ".join(f"{counted[verdict]} {verdict.value}" for verdict in Verdict)
    bad = failures(results, strict=strict)
    return f"{len(results)} checks: {counts}. " + (f"Mend first: {', '.join(bad)}" if bad else "Ready to run")


def failures(results: Sequence[Result], *, strict: bool) -> list[str]:
    """The names of the checks that did not pass."""
    bad = (Verdict.FAIL, Verdict.WARN) if strict else (Verdict.FAIL,)
    return [result.name for result in results if result.finding.verdict in bad]


def document(results: Sequence[Result], *, strict: bool) -> str:
    """All of it as JSON; by the standard library, as no other may be there."""
    return json.dumps(
        {
            "passed": not failures(results, strict=strict),
            "counts": {verdict.value: sum(r.finding.verdict is verdict for r in results) for verdict in Verdict},
            "checks": [
                {
                    "name": result.name,
                    "verdict": result.finding.verdict.value,
                    "found": without_secrets(result.finding.found),
                    "remedy": without_secrets(result.finding.remedy),
                    "seconds": round(result.seconds, 3),
                }
                for result in results
            ],
        },
        ensure_ascii=False,
        indent=2,
    )
