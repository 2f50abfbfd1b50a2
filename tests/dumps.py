"""Small dumps of made-up pages, in both layouts that Wikimedia has published."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

LAYOUTS = ("new", "legacy")


def document(page_id: int, layout: str = "new", **fields: object) -> dict[str, object]:
    """A complete document; a field given as None is left in as null."""
    own: dict[str, object] = {
        "page_type": "primary",
        "namespace": 0,
        "title": f"Page {page_id}",
        "text": f"The text of page {page_id}, which says nothing twice. {'Ä€😀' * (page_id % 7)}",
        "opening_text": f"The text of page {page_id}.",
        "version": 10_000 + page_id,
        "wiki": "enwiki",
        "language": "en",
        "timestamp": "2026-11-01T00:00:00Z",
        "redirect": [],
        "category": ["Made-up pages"],
        "source_text": "''The'' text.",
    }
    if layout == "new":
        own["page_id"] = page_id
    else:
        del own["page_type"]
    return own | fields


def pair(page_id: int, layout: str = "new", **fields: object) -> list[bytes]:
    """An action line and its document."""
    target = {"_id": page_id} if layout == "new" else {"_type": "_doc", "_id": str(page_id)}
    return [dumped({"index": target}), dumped(document(page_id, layout, **fields))]


def pairs(page_ids: Iterable[int], layout: str = "new") -> list[bytes]:
    return [line for page_id in page_ids for line in pair(page_id, layout)]


def dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def write_shard(
    folder: Path, lines: Sequence[bytes], number: int = 0, wiki: str = "enwiki", snapshot: str = "20261115"
) -> Path:
    """A bz2 shard of today's layout."""
    path = folder / f"index_name={wiki}_content" / f"{wiki}_content-{snapshot}-{number:05}.json.bz2"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(joined(lines)))
    return path


def write_legacy(folder: Path, lines: Sequence[bytes]) -> Path:
    """A gzip file of the layout used until 2025."""
    path = folder / "enwiki-20251229-cirrussearch-content.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(joined(lines)))
    return path
