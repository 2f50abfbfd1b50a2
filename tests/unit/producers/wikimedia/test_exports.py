"""Pages of exports as other tools and older wikis write them."""

from __future__ import annotations

import time

import pytest

from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.wikimedia.export_xml import ExportedPage, Site, is_redirect, read_page, read_site
from producers.wikimedia.exported_pages import ExportedPages
from producers.wikimedia.parser_child import Parsed

HEAD = """<mediawiki xml:lang="de"><siteinfo><dbname>my_wiki</dbname><base>{}</base><namespaces>
<namespace key="0" /><namespace key="1">Diskussion</namespace><namespace key="2">Benutzer</namespace>
<namespace key="3">Benutzer Diskussion</namespace><namespace key="6">Datei</namespace>
<namespace key="100">Portal</namespace><namespace key="x">Unsinn</namespace></namespaces></siteinfo>"""


def site(base: str = "http://garten.example.org/wiki/Hauptseite") -> Site:
    return read_site([HEAD.format(base).encode()])


def revision(number: int, at: str, text: str) -> str:
    return f"<revision><id>{number}</id><timestamp>{at}</timestamp><text>{text}</text></revision>"


def xml(title: str, *revisions: str, inside: str = "") -> bytes:
    return f"<title>{title}</title><id>7</id>{inside}{''.join(revisions)}".encode()


def read(data: bytes, of: Site, wiki: str = "my_wiki", namespaces: tuple[int, ...] = (0,)) -> Page | Rejected:
    pages = ExportedPages(wiki, of, "", frozenset(namespaces))
    found = pages.wanted(data, [])
    return pages.page(found, Parsed(found.wikitext) if isinstance(found, ExportedPage) else found, [])


@pytest.mark.parametrize(
    "text",
    [
        "#REDIRECT [[Apfelbaum]]",
        " \n#redirect: [[Apfelbaum#Blüte|x]] {{R from other language}} and words",
        "#WEITERLEITUNG [[Apfelbaum]]",
        "#перенаправление [[Яблоня]]\n[[Категория:Деревья]]<!-- alt -->",
        "#重定向[[苹果树]]",
        "# تحويل [[شجرة]]\n{{R|x}}\n__NOINDEX__",
    ],
)
def test_a_redirect_is_told_by_its_text_in_any_language(text: str) -> None:
    assert is_redirect(text)
    assert read(xml("Baum", revision(1, "2026-01-01T00:00:00Z", text.replace("<", "&lt;"))), site()) == Rejected(
        "redirect"
    )


@pytest.mark.parametrize(
    "text",
    [
        "# Äpfel [[Apfel]] und mehr",
        "#Apfel [[Apfel]]\n#Birne [[Birne]]",
        "Ein #REDIRECT [[Apfel]]",
        "#REDIRECT Apfel",
        "",
    ],
)
def test_a_list_that_begins_like_one_is_no_redirect(text: str) -> None:
    assert not is_redirect(text)


def test_no_text_makes_it_slow_to_tell() -> None:
    begun = time.process_time()
    million = 1_000_000
    for text in (
        "#Apfel [[Apfel]]" + "<!--" * million,
        "#" * million,
        " " * million,
        "#a [[" + "x" * million,
        "#REDIRECT" + " " * million + "x",
    ):
        assert not is_redirect(text)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("title", "namespace"),
    [
        ("Baum", 0),
        ("Diskussion:Baum", 1),
        ("benutzer_Diskussion:Ada", 3),
        ("Talk:Tree", 1),
        ("User talk:Ada", 3),
        ("Portal:Garten", 100),
        ("Krieg der Sterne: Episode IV", 0),
        ("Unsinn:Baum", 0),
        ("Talk:", 0),
    ],
)
def test_without_a_number_the_titles_prefix_tells_the_namespace(title: str, namespace: int) -> None:
    page = read(xml(title, revision(1, "", "Ein Text.")), site(), namespaces=(namespace,))
    assert isinstance(page, Page)
    assert page.namespace == namespace
    assert read(xml(title, revision(1, "", "Ein Text.")), site(), namespaces=(99,)) == Rejected("namespace")
    numbered = read(xml(title, revision(1, "", "Ein Text."), inside="<ns>99</ns>"), site(), namespaces=(99,))
    assert isinstance(numbered, Page), "a number counts more"


def test_a_history_in_any_order_gives_the_newest_revision_by_time_then_by_number() -> None:
    old, new = revision(9, "2025-03-01T00:00:00Z", "Alt."), revision(8, "2026-03-01T00:00:00Z", "Neu.")
    newer = revision(10, "2026-03-01T00:00:00Z", "Neuer.")
    for order, expected in (((old, new), "8"), ((new, old), "8"), ((newer, old, new), "10"), ((new, newer, old), "10")):
        assert read_page(xml("Hecke", *order)).revision == expected
    assert read_page(xml("Hecke", revision(2, "", "Zwei."), revision(10, "", "Zehn."))).wikitext == "Zehn."
    assert read_page(xml("Hecke")).wikitext == ""


@pytest.mark.parametrize(
    ("wiki", "base", "url"),
    [
        ("my_wiki", "http://garten.example.org/wiki/Hauptseite", "http://garten.example.org/wiki/Der_Baum_(Ast)%3F"),
        ("dewiki", "http://garten.example.org/wiki/Hauptseite", "http://garten.example.org/wiki/Der_Baum_(Ast)%3F"),
        ("dewiki", "http://de.wikipedia.org/wiki/Hauptseite", "https://de.wikipedia.org/wiki/Der_Baum_(Ast)%3F"),
        ("dewiki", "", "https://de.wikipedia.org/wiki/Der_Baum_(Ast)%3F"),
        ("my_wiki", "http://[nirgends/x", ""),
        ("my_wiki", "javascript:alert(1)/x", ""),
    ],
)
def test_the_address_is_the_exports_before_any_guess(wiki: str, base: str, url: str) -> None:
    page = read(xml("Der Baum (Ast)?", revision(1, "", "Ein Text.")), site(base), wiki)
    assert isinstance(page, Page)
    assert page.url == url
