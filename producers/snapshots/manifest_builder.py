"""Collects what becomes a shard's manifest, 24 bytes a page."""

from __future__ import annotations

from array import array

import numpy as np

from pipeline.manifests import Entries, sorted_entries
from producers.files.page_hashes import numeric_id


class ManifestBuilder:
    """The pages of one shard, those before the place where this run went on included."""

    def __init__(self) -> None:
        self._ids, self._content, self._details = array("Q"), array("Q"), array("Q")

    def add(self, page_id: str, content: int, details: int) -> None:
        """Notes a page that is in the snapshot, sent or not."""
        number = numeric_id(page_id)
        if number is not None:
            self._ids.append(number)
            self._content.append(content)
            self._details.append(details)

    def entries(self) -> Entries:
        """All that was added, sorted; of a page that came twice, the later."""
        return sorted_entries(*(np.frombuffer(part, np.uint64) for part in (self._ids, self._content, self._details)))
