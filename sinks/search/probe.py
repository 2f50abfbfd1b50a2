"""A search that the table's writer does itself, as a reader would: how long would somebody wait who asked now?"""

from __future__ import annotations

import numpy as np

from sinks.reader import Reader
from sinks.search.answers import Hit
from sinks.search.nearest import nearest
from sinks.table import Table

CHUNKS = 10
"""The default of `sinks.search --k`."""


def search_probe(table: Table) -> list[Hit]:
    """The chunks nearest to a random direction, another each time: the same one would be answered from a cache.

    The writer's caches are small, so this is what a reader waits who comes after a pause, not one that asks all day.
    """
    direction = np.random.default_rng().standard_normal(table.rule.dimension, dtype=np.float32)
    return nearest(
        Reader(table.lance, table.name), direction / np.linalg.norm(direction), CHUNKS, metric=table.rule.metric
    )
