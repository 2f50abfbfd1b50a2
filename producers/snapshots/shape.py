"""The likeness of a snapshot to the one before: one that is cut short or made otherwise would delete pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Self

from producers.run.progress import Progress

FEWER, MORE = 0.10, 0.50
"""How many documents less or more, as a share of the last snapshot's, are still a week's or a month's change."""
REDIRECTS = 0.05
"""How far the share of redirects may move."""
FIELD = 0.20
"""How far the share of pages that have a field may move: one that was renamed or is written otherwise moves by all."""


@dataclass(frozen=True, slots=True)
class SnapshotShape:
    """The figures of all shards of a snapshot."""

    documents: int
    redirects: int
    pages: int
    fields: dict[str, int] | None
    """Field -> pages that have it; None when an earlier version read any of the shards."""

    @classmethod
    def of(cls, shards: Collection[Progress]) -> Self:
        """The sum of the shards."""
        shapes = [progress.shape for progress in shards]
        fields: Counter[str] = Counter()
        for shape in shapes:
            fields.update(shape.fields if shape is not None else {})
        return cls(
            documents=sum(progress.ledger.read for progress in shards),
            redirects=sum(progress.ledger.dropped.get("redirect", 0) for progress in shards),
            pages=sum(shape.pages for shape in shapes if shape is not None),
            fields=None if None in shapes else dict(fields),
        )

    def unlike(self, last: SnapshotShape) -> list[str]:
        """Figures that are far from the last snapshot's, each with both; empty when none is."""
        return [*self._documents(last), *self._redirects(last), *self._fields(last)]

    def _documents(self, last: SnapshotShape) -> Iterator[str]:
        slack = _slack(last.documents)
        if not 1 - FEWER - slack <= self.documents / max(1, last.documents) <= 1 + MORE + slack:
            yield f"{self.documents:,} documents after {last.documents:,}"

    def _redirects(self, last: SnapshotShape) -> Iterator[str]:
        now, then = _share(self.redirects, self.documents), _share(last.redirects, last.documents)
        if abs(now - then) > REDIRECTS + _slack(min(self.documents, last.documents)):
            yield f"{now:.1%} of them redirects after {then:.1%}"

    def _fields(self, last: SnapshotShape) -> Iterator[str]:
        if self.fields is None or last.fields is None:
            return
        slack = _slack(min(self.pages, last.pages))
        for name in sorted(self.fields.keys() | last.fields.keys()):
            now, then = _share(self.fields.get(name, 0), self.pages), _share(last.fields.get(name, 0), last.pages)
            if abs(now - then) > FIELD + slack:
                yield f"{name} in {now:.1%} of the pages after {then:.1%}"


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


def _slack(count: int) -> float:
    """The difference that chance alone makes in a wiki of so few pages."""
    return 1 / math.sqrt(max(1, count))
