"""Markup that is left in the text of an export's pages, and what its wikitext costs to parse.

`python -m bench.markup EXPORT… [--processes 1] [--out bench-markup.json]`. Without an export, the demo's own extract is
read. The look is at the share of the pages with each kind of markup left, as the ledger's notes count them, and at the
ratio of the wall's time with `--processes` parsers to that with one.
"""

from __future__ import annotations

import argparse
import bz2
import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from deploy.local.extract import extract
from pipeline.records import Page
from pipeline.rejected import Rejected
from pipeline.settings import Settings
from producers.bytes.lines import BEGINNING
from producers.run.shards import open_shard
from producers.wikimedia.one_line import LEFT
from producers.wikitext import WIKITEXT_NAMES, WikitextReader, WikitextSettings

EXTRACT = "enwiki-latest-pages-articles.xml.bz2"


@dataclass(frozen=True, slots=True)
class Found:
    """The figures of one export."""

    export: str
    pages: int
    characters: int
    """Of text."""
    rejected: dict[str, int]
    left: dict[str, int]
    """Kind of markup -> pages with it."""
    seconds: float
    """With one parser."""
    ratio: float
    """Of the time with `--processes` parsers."""


class _Pass(NamedTuple):
    pages: int
    characters: int
    rejected: Counter[str]
    left: Counter[str]
    seconds: float


def measure(path: Path, processes: int) -> Found:
    """Reads the export twice."""
    one = _read(path, 1)
    many = _read(path, processes) if processes > 1 else one
    return Found(
        path.name,
        one.pages,
        one.characters,
        dict(one.rejected),
        {kind: one.left[kind] for kind in LEFT},
        one.seconds,
        many.seconds / one.seconds,
    )


def _read(path: Path, processes: int) -> _Pass:
    left: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    pages = characters = 0
    begun = time.perf_counter()
    with patch("producers.wikitext.usable_cores", lambda: processes):
        reader = WikitextReader(open_shard(path, WIKITEXT_NAMES), WikitextSettings(sources=[str(path)]))
        for entry in reader.read(BEGINNING, lambda: None):
            if isinstance(entry.page, Page):
                pages += 1
                characters += len(entry.page.text)
                left.update(set(entry.notes).intersection(LEFT))
            elif isinstance(entry.page, Rejected):
                rejected[entry.page.reason] += 1
    return _Pass(pages, characters, rejected, left, time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="*", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("bench-markup.json"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exports = chosen.exports
        if not exports:
            exports = [Path(folder) / EXTRACT]
            exports[0].write_bytes(bz2.compress(extract(Settings().data_dir / "downloads")))
        found = [measure(path, chosen.processes) for path in exports]
    for one in found:
        print(f"{one.export}: {one.pages:,} pages of {one.characters:,} characters in {one.seconds:.1f} s")
        for kind, pages in (one.left | one.rejected).items():
            print(f"  {kind:<20} {pages:>8,} pages, {pages / max(1, one.pages):.2%}")
        if chosen.processes > 1:
            print(f"  time with {chosen.processes} parsers: {one.ratio:.2f} of that with one")
    chosen.out.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
