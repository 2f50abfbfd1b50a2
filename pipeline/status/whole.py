"""The whole that a share is of: what is in Kafka, or for a run its source, of which some is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from pipeline.status.document import StageStatus
from pipeline.status.kafka_watcher import KafkaView


@dataclass(frozen=True, slots=True)
class Source:
    """The documents of a run, beside what Kafka knows of them."""

    done_before: int = 0
    """Pages that earlier runs have sent."""
    pages: int | None = None
    """All that there will be, as estimated; None: not known."""
    tokens_a_page: float | None = None


@dataclass(slots=True)
class Whole:
    """The counts at the first look, and those at the end.

    Without a source, everything in Kafka is the whole, whoever has sent it and whenever that was.
    """

    source: Source | None = None
    first: KafkaView | None = None

    def begin(self, kafka: KafkaView) -> None:
        """Notes the first look, from which on a run counts."""
        if self.first is None and kafka.looked_at is not None:
            self.first = kafka

    def end(self) -> None:
        """The source is at its end: what was sent is all of it."""
        if self.source is not None:
            self.source = replace(self.source, pages=0)

    def sent(self, kafka: KafkaView) -> int:
        """Records that went into `pages`; for a run, since it began."""
        return kafka.pages - (self.first.pages if self.source is not None and self.first is not None else 0)

    def done_before(self, stage: str) -> int:
        """Records that a stage had done when a run began."""
        groups = self.first.groups if self.source is not None and self.first is not None else ()
        return next((group.done for group in groups if group.step.stage == stage), 0)

    def unread(self, kafka: KafkaView) -> int | None:
        """Pages of the source that are still to come; None: nobody knows."""
        if self.source is None or self.source.pages is None:
            return None
        return max(0, self.source.pages - self.source.done_before - self.sent(kafka))

    def shared(self, stages: Sequence[StageStatus], kafka: KafkaView) -> list[StageStatus]:
        """The stages, in their order, with their shares: all that is not left to any stage up to there."""
        unread = self.unread(kafka)
        whole = self.sent(kafka) + (self.source.done_before if self.source is not None else 0) + (unread or 0)
        if not whole or (self.source is not None and unread is None):
            return list(stages)
        left = accumulate(stage.lag or 0 for stage in stages)
        return [
            replace(stage, share=max(0.0, 1 - rest / whole)) if stage.lag is not None else stage
            for stage, rest in zip(stages, left, strict=True)
        ]
