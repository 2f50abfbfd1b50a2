"""Whatever is sent in whatever order, with rivals, restarts and upkeep in between: the table equals a plain dict.

Each message is a version of a page, and the greatest wins. Versions are random, repeated and out of order.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.errors import Replaced
from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests.tables import contents, deletion, embedded, new_table, takeover, texts

PAGES = [f"enwiki:{n}" for n in range(12)]


class History:
    """Versions of a few pages as `pages` would have them, and what the table must hold of those sent so far."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.versions: list[EmbeddedPage] = []
        self.newest: dict[str, EmbeddedPage] = {}
        self.next_offset = 0

    def batch(self) -> list[EmbeddedPage]:
        """New versions and repeated old ones, in any order."""
        new = [self._version(offset) for offset in self._offsets(self.random.randrange(5))]
        old = self.random.choices(self.versions, k=self.random.randrange(6)) if self.versions else []
        self.versions += new
        sent = [page for page in new if self.random.random() < 0.8] + old
        self.random.shuffle(sent)
        return sent

    def wrote(self, batch: list[EmbeddedPage]) -> None:
        for page in batch:
            if page.key not in self.newest or self.newest[page.key].source.offset < page.source.offset:
                self.newest[page.key] = page

    def expected(self) -> dict[str, list[str]]:
        return {key: texts(page) for key, page in self.newest.items() if page.spans}

    def _offsets(self, count: int) -> range:
        self.next_offset += count
        return range(self.next_offset - count, self.next_offset)

    def _version(self, offset: int) -> EmbeddedPage:
        key = self.random.choice(PAGES)
        chunks = self.random.choice([None, 0, 1, 1, 2, 3, 7])
        return deletion(key, offset) if chunks is None else embedded(key, offset, chunks)


@pytest.mark.parametrize("seed", range(6))
def test_the_table_equals_a_dict_of_the_newest_versions(tmp_path: Path, seed: int) -> None:
    history = History(seed)
    writers = [new_table(tmp_path)]
    offset = 0
    for _ in range(30):
        action = history.random.random()
        if action < 0.15:
            writers.append(takeover(tmp_path))
        elif action < 0.25:
            upkeep(writers[-1], history.random.choice([UpkeepStep.BTREE, UpkeepStep.OPTIMIZE]))
        elif action < 0.4 and len(writers) > 1:
            refuses_a_stale_writer(writers[history.random.randrange(len(writers) - 1)], history)
        else:
            batch = history.batch()
            offset += len(batch)
            writers[-1].write(batch, {0: offset})
            history.wrote(batch)
        assert contents(writers[-1]) == history.expected()
        assert writers[-1].fence.offsets.get(0, 0) == offset


def upkeep(table: Table, step: UpkeepStep) -> None:
    Upkeep(table, UpkeepRules(), Metrics("lance")).do(step)


def refuses_a_stale_writer(stale: Table, history: History) -> None:
    with pytest.raises(Replaced):
        stale.write(history.batch(), {0: 1_000_000})
    with pytest.raises(Replaced):
        upkeep_of_a_stale_writer(stale)


def upkeep_of_a_stale_writer(stale: Table) -> None:
    upkeep(stale, UpkeepStep.OPTIMIZE)
