"""Real text for the demo and the tests: an extract of the English Wikipedia, in the layout of Wikimedia's dumps."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NewType

from deploy.local.extract import RawPage, extract, read_pages
from pipeline.errors import Fatal
from pipeline.settings import Settings
from producers.wikimedia.prose import Article, read_article

WIKI = "enwiki"
SNAPSHOT = "20160501"
"""Day of the extract's newest revision."""
NOTICE = """\
The shards in this folder are made from an extract of the English Wikipedia (https://en.wikipedia.org) of May 2016.
The text is by its authors, whom the history of each page names: https://en.wikipedia.org/wiki/TITLE?action=history
It is under CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/) and the GNU Free Documentation License
(https://www.gnu.org/licenses/fdl-1.3.html). Changed: rendered from wikitext, without tables and infoboxes.
"""
SHARDS = 4

Document = NewType("Document", dict[str, object])
"""A line of a dump: its fields are the dump's own, see CirrusSearch's index mapping."""


def write_sample(folder: Path, downloads: Path | None = None) -> Path:
    """Makes the sample in `folder` unless it is there; the folder of its shards, for `producers.cirrus`.

    `downloads` (default: a folder in the data folder) keeps the extract, 1.7 MB. Takes about 10 s, most of it for
    parsing wikitext.
    """
    made = folder / "cirrus_search_index" / SNAPSHOT / f"index_name={WIKI}_content"
    if not (made / "_SUCCESS").exists():
        xml = extract(downloads or Settings().data_dir / "downloads")
        _write_snapshot(made, documents(read_pages(xml)))
    return made


def documents(pages: Iterable[RawPage]) -> list[Document]:
    """A document for each page, articles and redirects mixed in an order that depends on their ids alone.

    `incoming_links` counts the articles of the extract that link to the page. There is no `popularity_score`: the
    extract has nothing to make one of.
    """
    pages = sorted(pages, key=lambda page: hashlib.sha256(str(page.page_id).encode()).digest())
    articles = {page.title: read_article(page.wikitext) for page in pages if page.redirect is None}
    resolved = {page.title: page.redirect for page in pages if page.redirect is not None}
    incoming = Counter(
        target
        for article in articles.values()
        for target in {resolved.get(name, name) for name in map(_as_title, article.links)}
    )
    aliases: dict[str, list[RawPage]] = {}
    for page in pages:
        if page.redirect is not None:
            aliases.setdefault(page.redirect, []).append(page)
    return [
        _redirect(page)
        if page.redirect is not None
        else _primary(page, articles[page.title], aliases.get(page.title, []), incoming[page.title])
        for page in pages
    ]


def _as_title(link: str) -> str:
    """A link names its page with a small or a capital first letter."""
    return link[:1].upper() + link[1:]


def _redirect(page: RawPage) -> Document:
    return Document({**_common(page), "page_type": "redirect", "redirect": [], "text": ""})


def _primary(page: RawPage, article: Article, aliases: list[RawPage], incoming_links: int) -> Document:
    return Document(
        {
            **_common(page),
            "page_type": "primary",
            "category": article.categories,
            "content_model": "wikitext",
            "heading": article.headings,
            "incoming_links": incoming_links,
            "opening_text": article.opening_text,
            "outgoing_link": [name.replace(" ", "_") for name in article.links],
            "redirect": [{"namespace": alias.namespace, "title": alias.title} for alias in aliases],
            "source_text": page.wikitext,
            "template": [f"Template:{name}" for name in article.templates],
            "text": article.text,
            "text_bytes": len(page.wikitext.encode()),
        }
    )


def _common(page: RawPage) -> Document:
    return Document(
        {
            "language": "en",
            "namespace": page.namespace,
            "page_id": page.page_id,
            "timestamp": page.timestamp,
            "title": page.title,
            "version": page.revision,
            "wiki": WIKI,
        }
    )


def _write_snapshot(made: Path, lines: list[Document]) -> None:
    """Writes beside `made` and renames: a folder of that name is complete."""
    made.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=made.parent))
    try:
        for number in range(SHARDS):
            shard = scratch / f"{WIKI}_content-{SNAPSHOT}-{number:05d}.json.bz2"
            shard.write_bytes(bz2.compress(b"".join(map(_pair, lines[number::SHARDS]))))
        (scratch / "NOTICE.txt").write_text(NOTICE, encoding="utf-8")
        (scratch / "_SUCCESS").touch()
        scratch.chmod(0o755)  # mkdtemp's folder is for its owner alone
        os.rename(scratch, made)  # noqa: PTH104
    except OSError as error:
        if not (made / "_SUCCESS").exists():  # another process may have been first
            raise Fatal(f"{made}: {error.strerror or error}; make room or choose another --data-dir") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _pair(document: Document) -> bytes:
    action = {"index": {"_id": document["page_id"]}}
    return f"{json.dumps(action)}\n{json.dumps(document, ensure_ascii=False)}\n".encode()
