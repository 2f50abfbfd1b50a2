"""Estimates a run from the beginning of its files: pages, rows, disk, hours."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deploy.local.beginning import read_beginning
from deploy.local.run_settings import RunSettings
from pipeline.errors import UsageError
from pipeline.lag.rates import duration
from pipeline.model_card import language_code
from pipeline.rejected import Rejected
from producers.reader import Entry
from producers.run.shards import Shard
from sinks.languages import language_of

SAMPLE_SHARDS = 6
BYTES_A_TOKEN = 4.0
"""UTF-8 bytes of text for a WordPiece token: 4.2–4.5 in English and German, 3 in Chinese."""
PAGES_A_BYTE = 0.45
"""`pages` with zstd: 13.5 GB for the 33 GB of all English text, a little more where pages are short."""
CHUNKS_A_BYTE = 0.85
"""`chunks`: 27 GB for the same text. Trimmed behind the fence, but a slow embedder may let all of it pile up."""
ROW_BYTES = 350
"""A table row besides its vector and its text: keys, title, url, categories."""
SPARE = 1.1
LANGUAGE_SHARE = 0.02
"""Of the pages, from which on a language is one of the corpus; a few pages say another one than their wiki's."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A forecast; `basis` says what it rests on."""

    pages: int
    dropped: int
    rows: int
    kafka_bytes: int
    table_bytes: int
    seconds: float
    basis: str
    languages: tuple[str, ...] = ()
    """Codes, the most frequent first."""
    tokens: int = 0
    """That the embedders will see."""

    @property
    def disk_bytes(self) -> int:
        return self.kafka_bytes + self.table_bytes


@dataclass(slots=True)
class _Sample:
    """The contents of a shard's beginning, or of several shards in all."""

    pages: float = 0
    dropped: float = 0
    text_bytes: float = 0
    opening_bytes: float = 0
    rows: float = 0
    languages: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry, settings: RunSettings) -> None:
        """Adds one entry of a file."""
        page = entry.page
        if isinstance(page, Rejected):
            self.dropped += not page.damaged
        elif page is not None and len(page.text) < settings.min_length:
            self.dropped += 1
        elif page is not None:
            text, opening = (len(part.encode("utf-8", "replace")) for part in (page.text, page.opening_text))
            language = language_code(language_of(page.language, page.wiki))
            found = Counter([language] if language else ())
            self.add(_Sample(1, 0, text, opening, _rows(text, opening, settings), found), 1)

    def add(self, other: _Sample, scale: float) -> None:
        for name in ("pages", "dropped", "text_bytes", "opening_bytes", "rows"):
            setattr(self, name, getattr(self, name) + scale * getattr(other, name))
        for language, pages in other.languages.items():
            self.languages[language] += max(1, round(scale * pages))


def forecast(
    shards: Sequence[Shard], settings: RunSettings, dimension: int, rows_per_second: float, rate: str
) -> Estimate:
    """The estimate for these shards, embedded at `rows_per_second`; `rate` says where that number comes from."""
    chosen = spread(shards)
    whole, seen = _Sample(), 0.0
    total = sum(shard.size for shard in shards)
    unread = total / max(1, sum(shard.size for shard in chosen))
    for shard in chosen:
        sample = _Sample()
        read = read_beginning(shard, settings, partial(sample.take, settings=settings))
        whole.add(sample, settings.sample * unread * shard.size / max(1, read))
        seen += sample.pages
    languages = tuple(code for code, pages in whole.languages.most_common() if pages >= LANGUAGE_SHARE * whole.pages)
    if settings.limit is not None and whole.pages > settings.limit:
        limited = _Sample()
        limited.add(whole, settings.limit / whole.pages)
        whole = limited
    vectors, stored = whole.rows * (dimension * 4 + ROW_BYTES), _stored_text(whole, settings)
    return Estimate(
        pages=round(whole.pages),
        dropped=round(whole.dropped),
        rows=round(whole.rows),
        tokens=round(stored / BYTES_A_TOKEN),
        kafka_bytes=round(whole.text_bytes * (PAGES_A_BYTE + CHUNKS_A_BYTE) + vectors),
        table_bytes=round(vectors + stored),
        seconds=whole.rows / max(0.001, rows_per_second),
        basis=f"the first {seen:,.0f} pages of {len(chosen)} of {len(shards)} files ({total / 1e6:,.1f} MB); {rate}",
        languages=languages,
    )


def _stored_text(whole: _Sample, settings: RunSettings) -> float:
    if settings.unit == "lead":
        return whole.opening_bytes
    repeated = settings.window_tokens / max(1, settings.window_tokens - settings.overlap_tokens)
    return whole.text_bytes * (repeated if settings.unit == "window" else 1.0)


def check_disk(estimate: Estimate, settings: RunSettings, *, local_kafka: bool) -> None:
    """Raises UsageError when the disk has no room for what is still to be written."""
    table = "://" not in settings.lance_location
    needed = (estimate.kafka_bytes if local_kafka else 0) + (estimate.table_bytes if table else 0)
    needed = max(0, round(needed * SPARE) - folder_bytes(settings.data_dir))
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    if needed > free:
        raise UsageError(
            f"{settings.data_dir}: about {_gb(needed)} are needed and {_gb(free)} are free; choose another --data-dir, "
            "set --limit, or skip this check with CIRROSTREAM_ESTIMATE=false"
        )


def describe(estimate: Estimate) -> str:
    """The estimate in two lines."""
    return (
        f"estimate: {estimate.pages:,} pages, {estimate.rows:,} rows, {_gb(estimate.disk_bytes)} of disk at most, "
        f"{duration(estimate.seconds)} of embedding\n"
        f"          from {estimate.basis}"
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder on disk; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        with suppress(OSError):
            total += 0 if path.is_symlink() else path.stat().st_blocks * 512
    return total


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def spread(shards: Sequence[Shard]) -> list[Shard]:
    """Some shards from all over: dumps are sorted by id, and old articles are long."""
    step = max(1, len(shards) // SAMPLE_SHARDS)
    return list(shards[::step][:SAMPLE_SHARDS])


def _rows(text: int, opening: int, settings: RunSettings) -> int:
    """Rows that a page becomes, by the bytes of its text and of its opening text."""
    if settings.unit != "window":
        return 1 if (opening if settings.unit == "lead" else text) else 0
    stride = max(1, settings.window_tokens - settings.overlap_tokens)
    return math.ceil(max(1.0, (text / BYTES_A_TOKEN - settings.overlap_tokens) / stride)) if text else 0
