"""Pages as a wiki's API describes them, to pages of ours, whatever editors write."""

from __future__ import annotations

import pytest

from producers.api.looks import WikiPages
from producers.wikimedia.parser import MarkupParser
from producers.wikimedia.parser_child import Parsed
from producers.wikimedia.settings import DocumentRules
from tests.unit.producers.api.conftest import Client
from tests.wiki_server import Served


def test_a_document_becomes_the_page_that_a_dump_would_give(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin. It burns.", categories=("Resins",))
    site.wiki.write(8, "Bernstein", "", leads_to="Amber")
    page = client.looks(7)[7].page
    assert page is not None
    assert (page.key, page.title, page.text) == ("testwiki:7", "Amber", "Amber is a resin. It burns.")
    assert (page.categories, page.aliases, page.revision) == (("Resins",), ("Bernstein",), 101)
    assert (page.url, page.language, page.snapshot) == ("https://wiki.example.org/wiki/Amber", "en", "")


def test_pages_go_by_our_name_of_the_wiki_whatever_it_calls_itself(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin.")
    page = client.pages("mine").look(client.api.by_ids([7]).pages[0]).page
    assert page is not None
    assert page.key == "mine:7"


def test_what_is_no_page_is_told_apart(site: Served, client: Client) -> None:
    site.wiki.write(1, "Bernstein", "", leads_to="Amber")
    site.wiki.write(2, "Talk:Amber", "About it.", namespace=1)
    site.wiki.write(3, "Blank", "  ")
    site.wiki.write(4, "Script.js", "alert(1)", model="javascript")
    looks = client.looks(1, 2, 3, 4, 5)
    assert {key: look.reason for key, look in looks.items()} == {
        1: "redirect",
        2: "namespace",
        3: "empty",
        4: "content_model",
        5: "missing",
    }
    assert all(look.gone for look in looks.values())


def test_without_cirrussearch_wikitext_becomes_the_same_kind_of_page(site: Served, client: Client) -> None:
    site.wiki.cirrus = False
    wikitext = "'''Amber''' is a [[resin]].\n\n== Uses ==\nIt is worn.\n[[Category:Resins]]"
    site.wiki.write(7, "Amber", wikitext, categories=("Resins", "Gems", "Fossils"))
    site.wiki.write(8, "Bernstein", "#REDIRECT [[Amber]]", leads_to="Amber")
    page = client.looks(7)[7].page
    assert page is not None
    assert (page.opening_text, page.text) == ("Amber is a resin.", "Amber is a resin. Uses It is worn.")
    assert (page.aliases, page.revision) == (("Bernstein",), 101)
    assert page.categories == ("Resins", "Gems", "Fossils"), "two of them came in further answers"


def test_wikitext_has_the_wikis_own_names_for_files_and_categories(site: Served, client: Client) -> None:
    site.wiki.cirrus = False
    site.wiki.namespaces = {-2: "Medium", 0: "", 6: "Datei", 14: "Kategorie"}
    site.wiki.aliases = [(6, "Bild")]
    text = "Der Hafen liegt am Fluss. [[Datei:Karte.x|mini|Karte]] [[bild:Boot.x|mini|Boot]] [[Kategorie:Orte]]"
    site.wiki.write(7, "Hafen", text)
    page = client.looks(7)[7].page
    assert page is not None
    assert page.text == "Der Hafen liegt am Fluss."


def test_a_page_without_an_address_gets_the_wikis_own_and_no_guess(site: Served, client: Client) -> None:
    site.wiki.wiki, site.wiki.base = "my_wiki", "http://orchard.example.org/wiki/Main_Page"
    site.wiki.addresses = False
    site.wiki.write(7, "Pear tree", "A pear tree.")
    page = client.looks(7)[7].page
    assert page is not None
    assert page.url == "http://orchard.example.org/wiki/Pear_tree"


@pytest.mark.parametrize(
    ("wikitext", "reason"),
    [
        ("{{a|" * 16_000, "slow_wikitext"),
        ("The range ends with &#xD83D; and more.", ""),
        ("x" * 4_000_001, "too_large_wikitext"),
    ],
    ids=["nested", "half a surrogate pair", "large"],
)
def test_whatever_editors_write_a_look_ends(site: Served, client: Client, wikitext: str, reason: str) -> None:
    site.wiki.cirrus = False
    site.wiki.write(7, "Amber", wikitext)
    with MarkupParser(client.api.site().names, seconds=1.0) as parser:
        pages = WikiPages("testwiki", DocumentRules(), client.api.site(), lambda text: parser.parse(text, lambda: None))
        (look,) = map(pages.look, client.api.by_ids([7]).pages)
    assert look.reason == reason
    assert (look.page is None) == bool(reason)
    assert look.page is None or look.page.text == "The range ends with \ufffd and more."
    assert not look.failed
    assert not look.gone


def test_a_parser_that_fails_costs_its_page(site: Served, client: Client) -> None:
    def parse(_: str) -> Parsed:
        raise RecursionError("too deep")

    site.wiki.cirrus = False
    site.wiki.write(7, "Amber", "Amber is a resin.")
    pages = WikiPages("testwiki", DocumentRules(), client.api.site(), parse)
    (look,) = map(pages.look, client.api.by_ids([7]).pages)
    assert (look.page_id, look.reason, look.detail) == (7, "bad_page", "RecursionError: too deep")


def test_markup_that_is_left_in_a_page_is_noted(site: Served, client: Client) -> None:
    site.wiki.cirrus = False
    site.wiki.write(7, "Amber", "Amber is a [[resin and {{stone.")
    with MarkupParser() as parser:
        pages = WikiPages("testwiki", DocumentRules(), client.api.site(), lambda text: parser.parse(text, lambda: None))
        (look,) = map(pages.look, client.api.by_ids([7]).pages)
    assert look.page is not None
    assert (look.page.text, look.notes) == ("Amber is a resin and stone.", ("link_left", "template_left"))
