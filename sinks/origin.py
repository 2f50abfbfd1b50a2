"""A page's own word on where it comes from, held against Kafka's.

Whoever has an embedder's or a chunker's password can write any source into a record. One with an offset that `pages`
does not have yet would win against every later version of its page, the repaired one included, for good. One of
another partition, or of a topic that never was, comes from no process of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.errors import TryAgain
from pipeline.offsets import TopicLog
from pipeline.records import Source
from pipeline.rejected import Rejected
from sinks.fence import Fence, Version, place_and_offset

FORGED_SOURCE = "forged_source"
UNKNOWN_TOPIC = "unknown_topic"


@dataclass(slots=True)
class Origins:
    """`pages` as Kafka has it; asked again before a record is rejected, for an earlier answer may be too old.

    An offset below the end is believed, also where compaction has taken its record away. Those of a `pages` that was
    deleted since cannot be checked: they are older than everything in the topic of today, so a repair wins.
    """

    look: Callable[[], TopicLog | None]
    """The log of `pages` now; None: there is no such topic."""
    _now: TopicLog | None = None
    _former: set[str] = field(default_factory=set)

    def rejection(self, source: Source, partition: int, fence: Fence) -> Rejected | None:
        """The fault in the source of a record that stands in this partition of `vectors`, or None.

        Raises:
            UnknownPagesTopic: `pages` was made anew, and the operator has not said what to do.
            TryAgain: Kafka does not say where the partition ends.
        """
        if source.partition != partition:
            return Rejected(FORGED_SOURCE, f"its source is {source}, its partition {partition}")
        if source.topic_id in self._former or (source.topic_id in fence.pages and self._is_below_end(source)):
            return None
        self._now = self.look()
        if self._now is None or source.topic_id != self._now.topic_id:
            return self._rejection_of_other(source, fence)
        if partition not in self._now.ends:
            raise TryAgain(f"pages-{partition} has no leader, so nobody can say whether {source} is there")
        if not self._is_below_end(source):
            return Rejected(
                FORGED_SOURCE, f"its source is {source}, and pages-{partition} ends at {self._now.ends[partition]}"
            )
        fence.version(source)  # refuses a topic that was made anew
        return None

    def is_beyond_end(self, version: Version, partition: int, fence: Fence) -> bool:
        """True when the table has a version that this partition of `pages` has not reached: one from before
        sources were checked, or another hand's. The repair of its page would lose against it for good.
        """
        place, offset = place_and_offset(version)
        if place >= len(fence.pages):
            return True
        if self._is_below_end(Source(fence.pages[place], partition, offset)):
            return False
        self._now = now = self.look()
        if now is None or now.topic_id != fence.pages[place] or partition not in now.ends:
            return False
        return offset >= now.ends[partition]

    def _is_below_end(self, source: Source) -> bool:
        now = self._now
        return now is not None and source.topic_id == now.topic_id and source.offset < now.ends.get(source.partition, 0)

    def _rejection_of_other(self, source: Source, fence: Fence) -> Rejected | None:
        if source.topic_id not in fence.pages:
            return Rejected(
                UNKNOWN_TOPIC,
                f"its source is of a topic {source.topic_id[:50]!r}, which neither Kafka nor the table knows",
            )
        if self._now is not None:
            self._former.add(source.topic_id)
        return None
