"""The share of the table's text that the model knows, wiki by wiki: a sample of the rows is tokenised again."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

from lancedb.table import LanceTable

from consumers.chunking import Chunker
from consumers.vocabulary import Unknown
from deploy.doctor.context import Context, known
from deploy.doctor.findings import Finding, ok, warn
from pipeline.records import Page
from sinks.storage import connect, has_table, open_table

SAMPLE_ROWS = 1_000
UNKNOWN_SHARE = 0.05
"""As the alert CirrostreamTextUnknown has it."""
NAMED = 5


def look_at_vocabulary(context: Context) -> Finding:
    """The check; texts that the model does not know all get the same vector."""
    settings, files = context.settings, known(context.model)
    location, name = settings.lance_location, settings.table
    if "://" not in location and not Path(location).is_dir():  # connect() would make it
        return ok("no table yet")
    database = connect(location)
    texts = sample(open_table(database, name)) if has_table(database, name) else {}
    if not texts:
        return ok("no rows yet")
    shares = unknown_shares(texts, Chunker(files, "window", settings.window_tokens, settings.overlap_tokens))
    rows = sum(map(len, texts.values()))
    bad = {wiki: share for wiki, share in shares.items() if share > UNKNOWN_SHARE}
    if not bad:
        return ok(f"{files.name} knows {1 - max(shares.values()):.1%} of the characters at least, in {rows} rows")
    worst = sorted(bad, key=lambda wiki: -bad[wiki])
    listed = ", ".join(f"{bad[wiki]:.0%} of {wiki}" for wiki in worst[:NAMED])
    more = f" and {len(worst) - NAMED} wikis more" if len(worst) > NAMED else ""
    return warn(
        f"{files.name} does not know {listed}{more} (characters in a sample of {rows} rows): such texts get one vector",
        "export CIRROSTREAM_MODEL=a model for these languages; docs/models.md says how to change it",
    )


def sample(lance: LanceTable, rows: int = SAMPLE_ROWS) -> dict[str, list[str]]:
    """Texts of random live rows, by wiki; all rows where there are not more."""
    count = lance.count_rows()
    offsets = sorted(random.Random(count).sample(range(count), min(rows, count)))  # noqa: S311 - no secret
    found = lance.take_offsets(offsets).select(["wiki", "text"]).to_arrow().to_pylist()
    texts: dict[str, list[str]] = defaultdict(list)
    for row in found:
        if row["text"]:
            texts[row["wiki"]].append(row["text"])
    return texts


def unknown_shares(texts: dict[str, list[str]], chunker: Chunker) -> dict[str, float]:
    """Of each wiki's characters, the share that the model's vocabulary lacks."""
    return {wiki: _share([_unknown(chunker, text) for text in its]) for wiki, its in texts.items()}


def _unknown(chunker: Chunker, text: str) -> Unknown:
    return chunker.chunk(Page(wiki="sample", page_id="1", title="", text=text)).unknown


def _share(counts: list[Unknown]) -> float:
    return sum(one.characters for one in counts) / max(1, sum(one.of_characters for one in counts))
