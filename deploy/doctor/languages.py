"""The languages of the table's texts, or of the wiki that is to be read, against those that the model's card lists."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from lancedb.table import LanceTable

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Finding, ok, warn
from pipeline.model_card import language_code, languages_warning, model_for
from producers.fetch.settings import MirrorSettings
from sinks.languages import language_of
from sinks.storage import connect, has_table, open_table

SAMPLE_ROWS = 1_000
LANGUAGE_SHARE = 0.02
"""Of the rows looked at, from which on a language counts."""


def look_at_languages(context: Context) -> Finding:
    """The check. A model makes vectors of any language; in one that it was not made for they mean little."""
    files = known(context.model)
    settings = context.settings
    ahead = language_code(language_of(None, settings.wiki)) if isinstance(settings, MirrorSettings) else ""
    found = _of_table(context) or ([ahead] if ahead else [])
    if not found:
        return ok("no rows yet whose language is known")
    if warning := languages_warning(files.name, files.languages, found):
        return warn(warning, f"export CIRROSTREAM_MODEL={model_for(found).name}; docs/models.md says how to change it")
    its = "the model's card lists them" if files.languages else "the model's card lists no languages"
    return ok(f"{', '.join(found[:10])}: {its}")


def _of_table(context: Context) -> list[str]:
    location, name = context.settings.lance_location, context.settings.table
    if "://" not in location and not Path(location).is_dir():  # connect() would make it
        return []
    database = connect(location)
    return languages_of(open_table(database, name)) if has_table(database, name) else []


def languages_of(lance: LanceTable) -> list[str]:
    """Languages of a sample of the rows, the most frequent first."""
    count = lance.count_rows()
    offsets = sorted(random.Random(count).sample(range(count), min(SAMPLE_ROWS, count)))  # noqa: S311 - no secret
    columns = [column for column in ("language", "wiki") if column in lance.schema.names]
    rows = lance.take_offsets(offsets).select(["n", *columns]).to_arrow().to_pylist()
    live = [row for row in rows if (row["n"] or 0) >= 0]
    codes = Counter(language_code(language_of(row.get("language"), row.get("wiki"))) for row in live)
    return [code for code, rows in codes.most_common() if code and rows >= LANGUAGE_SHARE * len(live)]
