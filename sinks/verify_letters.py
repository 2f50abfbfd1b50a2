"""The dead letters, as the proof needs them: which versions of which pages are accounted for, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord

from pipeline import dead_letters
from sinks.verify_pages import text_of
from sinks.verify_report import Check, Problems


@dataclass(slots=True)
class Letters:
    """Versions in the dead letters, for one `pages` topic."""

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Stage and reason of each letter."""
    versions: set[tuple[int, int]] = field(default_factory=set)
    """Partition and offset in `pages`."""
    keys: set[str] = field(default_factory=set)
    """Pages of letters that cannot tell their version, for they could not be decoded."""

    @classmethod
    def read(cls, records: Iterable[ConsumerRecord], pages_topic: str, pages_id: str) -> Letters:
        """All letters of the topic."""
        letters = cls()
        for record in records:
            stage, letter = dead_letters.read(record)
            letters.reasons[stage, letter.reason] += 1
            version = letter.version(pages_topic, pages_id)
            if version is None:
                letters.keys.add(text_of(letter.key))
            elif version.topic_id == pages_id:
                letters.versions.add((version.partition, version.offset))
        return letters

    def has(self, key: str, partition: int, offset: int) -> bool:
        """Whether this version of this page is accounted for here."""
        return (partition, offset) in self.versions or key in self.keys

    def check(self) -> Check:
        """A warning when there are any: they are accounted for, and wait for somebody."""
        found = Problems()
        for (stage, reason), count in self.reasons.items():
            found.counts[f"{reason} in {stage}"] = count
        total = self.reasons.total()
        if total:
            found.examples.append("see `python -m pipeline.dead_letters list`")
        return found.check("dead letters", f"{total:,}", "warning")
