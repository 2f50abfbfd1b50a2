"""A MediaWiki export becomes pages: the real extract whole, a damaged one without what the damage touches."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import pytest

from deploy.local.extract import extract, read_pages
from deploy.local.sample import documents
from pipeline.errors import TryAgain, UsageError
from pipeline.records import Page
from pipeline.settings import Settings
from pipeline.topics import corpus_topics
from producers.account import Ledger
from producers.bytes.blocks import Damaged
from producers.bytes.lines import BEGINNING, Position
from producers.run.progress import PagesTopic
from producers.run.queue import open_queue
from producers.run.runner import FileRun, Found, Known, _Jobs, _mine
from producers.run.shards import Origin, find_shards
from producers.wikimedia.export_xml import Site
from producers.wikitext import (
    SOURCE,
    WIKITEXT_NAMES,
    WikitextReader,
    WikitextSettings,
    origin_of,
    parsers,
    site_of,
    wiki_of,
)
from tests.reading import Counted, Passed, shard_of

SETTINGS = WikitextSettings()

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Hauptseite</base>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
END = "</mediawiki>\n"


def page(number: int, text: str = "", *, inside: str = "", ns: int = 0, model: str = "wikitext") -> str:
    text = text or f"'''Text''' von {number}. Ä€😀"
    return f"""  <page>
    <title>Seite {number}</title>
    <ns>{ns}</ns>
    <id>{number}</id>{inside}
    <revision>
      <id>{1000 + number}</id>
      <timestamp>2026-11-01T00:00:00Z</timestamp>
      <model>{model}</model>
      <text bytes="1" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


def export(folder: Path, pages: Sequence[str], end: str = END) -> Path:
    path = folder / "dewiki-20261101-pages-articles.xml"
    path.write_text(HEAD + "".join(pages) + end, encoding="utf-8")
    return path


def reader_of(
    path: Path, start: Position = BEGINNING, ledger: Ledger | None = None, settings: WikitextSettings = SETTINGS
) -> Counted:
    return Counted(WikitextReader(shard_of(path), settings), start, ledger)


def passed(reader: Counted) -> list[Passed]:
    return list(reader.read())


def pages_of(path: Path, settings: WikitextSettings = SETTINGS) -> tuple[list[Page], Ledger]:
    reader = reader_of(path, settings=settings)
    return [entry.page for entry in passed(reader) if entry.page is not None], reader.ledger


@pytest.fixture(scope="module")
def real() -> bytes:
    """The extract of the English Wikipedia in gensim's wheel."""
    try:
        return extract(Settings().data_dir / "downloads")
    except TryAgain as error:
        pytest.skip(str(error))


def test_the_real_extract_gives_its_articles_as_the_demo_has_them_and_counts_its_redirects(
    real: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    # As a multistream dump: the head and each offsets of pages are streams of their own.
    cuts = [0, real.index(b"  <page>"), real.index(b"  <page>", len(real) // 2), real.index(b"</mediawiki>"), len(real)]
    path.write_bytes(b"".join(bz2.compress(real[a:b]) for a, b in pairwise(cuts)))
    found, ledger = pages_of(path)
    assert (ledger.read, ledger.produced, ledger.dropped, ledger.malformed) == (206, 106, {"redirect": 100}, {})
    expected = {str(d["page_id"]): d for d in documents(read_pages(real)) if d["page_type"] == "primary"}
    assert {p.page_id for p in found} == set(expected)
    for one in found:
        document = expected[one.page_id]
        assert (one.title, one.text, one.opening_text) == tuple(document[n] for n in ("title", "text", "opening_text"))
        assert (one.revision, one.timestamp) == (document["version"], document["timestamp"])
        assert list(one.categories) == document["category"]
    anarchism = next(p for p in found if p.title == "Anarchism")
    assert (anarchism.key, anarchism.language) == ("enwiki:12", "en")
    assert anarchism.url == "https://en.wikipedia.org/wiki/Anarchism"


def test_a_page_has_what_the_export_says_of_it_in_the_wikis_own_language(tmp_path: Path) -> None:
    text = "[[Datei:Karte.png|mini|Eine Karte]]'''Rhein''' ist ein [[Fluss]].[[Kategorie:Fluss in Europa|Rhein]]"
    (found,), _ = pages_of(export(tmp_path, [page(7, text)]))
    assert (found.key, found.title, found.text) == ("dewiki:7", "Seite 7", "Rhein ist ein Fluss.")
    assert (found.categories, found.language, found.revision) == (("Fluss in Europa",), "de", 1007)
    assert found.url == "https://de.wikipedia.org/wiki/Seite_7"


def test_what_is_no_article_is_dropped_under_its_reason(tmp_path: Path) -> None:
    pages = [
        page(1),
        page(2, inside='<redirect title="Seite 1" />'),
        page(3, ns=4),
        page(4, model="json"),
        page(5, "{{Infobox}}"),
        page(6, "x" * 4_000_001),
        page(7).replace("<id>7</id>", ""),
        page(8).replace("<ns>0</ns>", "<ns>?</ns>"),
        page(9).replace("<id>1009</id>", "<id>new</id>"),
    ]
    found, ledger = pages_of(export(tmp_path, pages))
    assert [p.page_id for p in found] == ["1", "9"]
    reasons = {"redirect": 1, "namespace": 1, "content_model": 1, "empty": 1, "too_large_wikitext": 1}
    assert ledger.dropped == {**reasons, "missing_id": 1, "bad_type": 1}
    assert ledger.mended == {"revision": 1}
    assert pages_of(export(tmp_path, pages[:3]), WikitextSettings(namespaces="4,0"))[1].produced == 2


def test_of_an_export_with_everything_odd_all_that_can_be_read_is_and_the_rest_has_its_reason(tmp_path: Path) -> None:
    first, last = page(11, "Alt.").split("    <revision>")
    history = first + "    <revision>" + last.replace("</page>", "") + "    <revision>" + last.replace("2026", "2025")
    pages = [
        page(1, "Von &#xD83D; bis &#56319;."),
        page(2, "Schreib <nowiki>[[Hafen]]</nowiki> oder <code>hafen --liste</code>."),
        page(3, "{{a|" * 16_000),
        page(4, "[[:Kategorie:Schiffe]], [[doi:10.1000/182|ein Buch]].[[Datei:K|mini|K]][[ Kategorie : Orte ]]"),
        page(5, "#WEITERLEITUNG [[Seite 1]]"),
        page(6, "{{" * 5_000 + "}}" * 5_000),
        page(7).replace("    <ns>0</ns>\n", "").replace("Seite 7", "User_talk:Ada"),
        page(8, "-{zh-hans:信息;zh-hant:資訊}-处理 __目次非表示__"),
        page(9).replace("<page>", "<page arvcontinue='20090504100000|810' >"),
        page(10, "Offen [[Hafen und {{Vorlage"),
        history,
    ]
    found, ledger = pages_of(export(tmp_path, pages))
    assert {one.page_id: one.text for one in found} == {
        "1": "Von \ufffd bis \ufffd.",
        "2": "Schreib [[Hafen]] oder hafen --liste.",
        "4": "Kategorie:Schiffe, ein Buch.",
        "8": "信息处理",
        "9": "Text von 9. Ä€😀",
        "10": "Offen Hafen und Vorlage",
        "11": "Alt.",
    }
    assert {one.page_id: one.revision for one in found}["11"] == 1011
    assert next(one.categories for one in found if one.page_id == "4") == ("Orte",)
    assert ledger.dropped == {"redirect": 1, "namespace": 1}
    assert ledger.malformed == {"slow_wikitext": 1, "bad_wikitext": 1}
    assert ledger.mended == {"link_left": 1, "template_left": 1}
    assert (ledger.read, ledger.balanced) == (11, True)


def test_a_damaged_page_costs_itself_alone(tmp_path: Path) -> None:
    pages = [
        page(0),
        page(1).replace("<title>", "<tit"),
        page(2),
        page(3).replace("</page>", "</pag"),
        page(4),
        page(5).replace("<page>", "<pge>"),
        page(6).replace("Text", "&grow;"),
        page(7),
        page(8).replace("<page>", "<pge>").replace("</page>", "</pge>"),
        page(9),
    ]
    path = export(tmp_path, pages)
    path.write_bytes(path.read_bytes().replace(b"von 7", b"von \xff"))
    found, ledger = pages_of(path)
    assert [p.page_id for p in found] == ["0", "2", "4", "7", "9"]
    assert found[-2].text.startswith("Text von \ufffd")
    assert ledger.malformed == {"not_xml": 2, "lost_page_end": 1, "lost_page_start": 2}
    assert ledger.mended == {"text_encoding": 1}
    assert ledger.read == ledger.lines == 10


def test_reading_goes_on_at_any_page_also_in_a_compressed_file(tmp_path: Path) -> None:
    plain = export(tmp_path, [page(n, ns=4 if n == 2 else 0) for n in range(6)])
    path = tmp_path / "dewiki-20261101-pages-articles.xml.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    whole_reader = reader_of(path)
    whole = passed(whole_reader)
    assert [entry.after.line for entry in whole] == list(range(1, 7))
    for place in (0, 2, 3, 5):
        first = reader_of(path)
        entry = list(islice(first.read(), place + 1))[-1]
        second = reader_of(path, entry.after, first.ledger)
        assert passed(second) == whole[place + 1 :]
        assert second.ledger == whole_reader.ledger


def test_an_export_without_its_end_is_cut_off_and_gives_what_it_has(tmp_path: Path) -> None:
    for pages, end in (([page(1), page(2)], ""), ([page(1), page(2)[:100]], ""), ([page(1), page(2)], "</mediawi")):
        reader = reader_of(export(tmp_path, pages, end))
        found: list[Passed] = []
        with pytest.raises(Damaged) as damage:
            found.extend(reader.read())
        assert damage.value.kind == "cut off"
        assert reader.ledger.produced == len(found) >= 1
        assert reader.ledger.balanced


def test_the_pages_before_the_damage_are_given_out_though_many_are_parsed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.wikitext.usable_cores", lambda: 4)
    path = export(tmp_path, [page(number) for number in range(1, 31)])
    cut = tmp_path / "cut.xml.bz2"
    cut.write_bytes(bz2.compress(path.read_bytes()[:-100]))
    reader = reader_of(cut, settings=WikitextSettings(sources=[str(cut)]))
    found: list[Passed] = []
    with pytest.raises(Damaged):
        found.extend(reader.read())
    assert [one.page.page_id for one in found if one.page is not None] == [str(number) for number in range(1, 30)]


@pytest.mark.parametrize(
    ("files", "chosen", "expected"),
    [
        (1, {}, 8),
        (2, {}, 4),
        (2, {"processes": 2}, 4),
        (3, {"processes": 1}, 8),
        (16, {}, 1),
        (2, {"limit": 5}, 8),
        (4, {"shard_count": 2, "shard_index": 1}, 4),
    ],
)
def test_a_file_has_the_cores_that_no_other_file_is_read_with(
    files: int, chosen: dict[str, int], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the process that reads it is told, which knows nothing of the other files."""
    for module in ("producers.wikitext", "producers.run.runner"):
        monkeypatch.setattr(f"{module}.usable_cores", lambda: 8)
    for number in range(files):
        (tmp_path / f"dewiki-20261101-pages-articles{number}.xml").write_text(HEAD + page(number) + END)
    settings = WikitextSettings(sources=[str(tmp_path)], **chosen)  # type: ignore[arg-type]
    queue = open_queue(settings, SOURCE.names_for(settings))
    mine = _mine(settings, queue.expected)
    found = Found(queue.expected, mine, {}, corpus_topics(settings), PagesTopic("pages", {}))
    service: Any = SimpleNamespace(turned=lambda: None)
    job = _Jobs(FileRun(SOURCE, settings), queue, found, Known(), service).next()
    assert job is not None
    assert parsers(WikitextSettings(**json.loads(job.settings))) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html><body></mediawiki>", "a page of HTML"),
        ("<feed></mediawiki>", "head cannot be read|begins with"),
        ('<!DOCTYPE mediawiki [<!ENTITY a "aaaa">]>' + HEAD + END, "document type"),
        ("no XML at all", "there is no page in its first 13 bytes"),
        (HEAD.replace("<dbname>dewiki</dbname>", "") + END, "--wiki"),
        (HEAD.replace("dewiki", "De:Wiki") + END, "'De:Wiki', which cannot stand in a key"),
    ],
)
def test_what_is_no_export_of_a_known_wiki_is_wrong_use(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        wiki_of(path, site_of(path), "", "")


def test_the_wiki_is_the_chosen_one_then_its_databases_then_the_file_names(tmp_path: Path) -> None:
    assert wiki_of(tmp_path, Site("dewiki"), "mine", "named") == "mine"
    assert wiki_of(tmp_path, Site("dewiki"), "", "named") == "dewiki"
    assert wiki_of(tmp_path, Site(), "", "named") == "named"


def test_parts_and_multistream_dumps_are_found_in_a_folder_and_other_files_are_not(tmp_path: Path) -> None:
    good = [
        "enwiki-20261101-pages-articles1.xml-p1p41242.bz2",
        "enwiki-20261101-pages-articles-multistream2.xml-p1p41242.bz2",
        "simplewiki-latest-pages-articles.xml.bz2",
        "dewiki-20261101-pages-meta-current.xml.gz",
    ]
    bad = ["enwiki-20261101-pages-articles-multistream-index1.txt-p1p41242.bz2", "notes.xml", "x.xml.7z"]
    for name in good + bad:
        (tmp_path / name).touch()
    assert {shard.name for shard in find_shards([str(tmp_path)], WIKITEXT_NAMES)} == set(good)
    assert find_shards([str(tmp_path / "notes.xml")], WIKITEXT_NAMES)[0].origin == Origin()
    assert origin_of(tmp_path / good[0]) == Origin("enwiki", "20261101")
    assert origin_of(tmp_path / good[2]) == Origin("simplewiki", "")
