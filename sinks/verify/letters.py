"""The dead letters, as the proof needs them: which versions of which pages are accounted for, and why.

A letter accounts for one version of one page, in the pipeline of one model: the newest version of a page may be missing
from the table when it could not be processed, and at no other time. So a letter from before that version was sent, of
another model, of a producer (its page never came to `pages`) or with odd headers accounts for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord

from pipeline import dead_letters
from pipeline.dead_letters import DeadLetter
from pipeline.metrics import FORGED
from pipeline.records import Source, source_of
from sinks.verify.pages import text_of
from sinks.verify.report import Check, Problems

MAX_KINDS = 20
"""Stages and reasons that are told apart: the words are the letters' own."""

OF_NO_PAGE = frozenset(FORGED) - {"newer_schema"}
"""Reasons of a record that none of our stages has made: it stands for no page, whatever key and version it has."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The topics that a letter must be of to count: one `pages` topic, and one model's topics behind it."""

    pages: str
    pages_id: str
    tag: str
    """Of the model and its settings."""
    topics: frozenset[str]
    """`pages`, `chunks` and `vectors`: where a record stood that could not be processed."""

    def owns(self, letter: DeadLetter) -> bool:
        if letter.odd or letter.topic not in self.topics or letter.model not in ("", self.tag):
            return False
        return letter.topic == self.pages or letter.reason not in OF_NO_PAGE

    def version(self, letter: DeadLetter) -> Source | None:
        """The page's version, where the letter or the bytes in it tell one."""
        found = letter.version(self.pages, self.pages_id)
        # The bytes of a record that ends whoever reads it are left alone.
        return found if found is not None or letter.reason == "killed" else source_of(letter.value or b"")


@dataclass(frozen=True, slots=True)
class Sent:
    """A version of a page in `pages`: the newest one, that the table should have."""

    key: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds, as Kafka has it."""


@dataclass(slots=True)
class Letters:
    """Pages that the letters of one pipeline account for."""

    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Stage and reason of each letter, those of other pipelines too."""
    versions: set[tuple[str, int, int]] = field(default_factory=set)
    """Key, partition and offset in `pages`."""
    untold: dict[tuple[str, int], int] = field(default_factory=dict)
    """Key and partition of letters that cannot tell their version, and when the last of them was written."""

    @classmethod
    def read(cls, records: Iterable[ConsumerRecord], pipeline: Pipeline) -> Letters:
        """All letters of the topic."""
        letters = cls()
        for record in records:
            stage, letter = dead_letters.read(record)
            letters._count(stage, "odd" if letter.odd else letter.reason)
            if pipeline.owns(letter):
                letters._account(text_of(letter.key), letter, pipeline, record.timestamp)
        return letters

    def has(self, sent: Sent) -> bool:
        """True when this version of this page is accounted for here.

        A letter that cannot tell its version can be about one only that was sent before it was written, and to the
        partition that its own record came from.
        """
        if (sent.key, sent.partition, sent.offset) in self.versions:
            return True
        return self.untold.get((sent.key, sent.partition), -1) >= sent.timestamp

    def check(self) -> Check:
        """A warning when there are any: they are accounted for, and wait for somebody."""
        found = Problems()
        for (stage, reason), count in self.reasons.items():
            found.counts[f"{reason} in {stage}"] = count
        total = self.reasons.total()
        if total:
            found.examples.append("see `python -m pipeline.dead_letters list`")
        return found.check("dead letters", f"{total:,}", "warning")

    def _count(self, stage: str, reason: str) -> None:
        kind = stage[:40], reason[:40]
        known = kind in self.reasons or len(self.reasons) < MAX_KINDS
        self.reasons[kind if known else ("other stages", "other reasons")] += 1

    def _account(self, key: str, letter: DeadLetter, pipeline: Pipeline, written: int) -> None:
        version = pipeline.version(letter)
        if version is None:
            at = key, letter.partition
            self.untold[at] = max(written, self.untold.get(at, written))
        elif version.topic_id == pipeline.pages_id and version.partition == letter.partition:
            # Every stage reads and sends in the partition of `pages`: another one is another page's.
            self.versions.add((key, version.partition, version.offset))
