"""The place in `chunks` behind which every page is in the table: the bound for trimming that topic.

The embedders' commits alone are no proof that anybody has read what they cover: whoever has an embedder's password can
commit the end of the topic, and a sink that believed it would delete what is not embedded yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from pipeline.records import EmbeddedPage


@dataclass(slots=True)
class Seen:
    """Pages of `chunks` that this process has written; none at its start, so trimming waits for the next page."""

    next_offsets: dict[int, int] = field(default_factory=dict)
    """Partition of `chunks` -> the offset behind the last record that came through to the table."""
    _older: bool = False

    def add(self, pages: Iterable[EmbeddedPage]) -> None:
        """Notes where these pages stand in `chunks`; those of an embedder before 'chunks_offset' do not say."""
        for page in pages:
            if page.chunks_offset is not None:
                partition = page.source.partition
                self.next_offsets[partition] = max(page.chunks_offset + 1, self.next_offsets.get(partition, 0))
            elif not self._older:
                self._older = True
                structlog.get_logger().warning(
                    "vectors do not say where in chunks they come from; chunks is not trimmed behind them",
                    meaning="an embedder of an earlier version made them: upgrade it",
                )
