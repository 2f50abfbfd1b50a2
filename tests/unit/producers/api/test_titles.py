"""Pages that the user means, by title or category, in any spelling of theirs."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.errors import Stopped, TryAgain, UsageError
from pipeline.rejected import Rejected
from producers.account import Ledger
from producers.api.reader import members, pages_in, titled, titles_in
from producers.bytes.lines import BEGINNING
from producers.wikimedia.titles import read_titles
from tests.unit.producers.api.conftest import Client
from tests.wiki_server import Reply, Served

NFD, NFC = "Sa\u0303o Bra\u0301s", "S\u00e3o Br\u00e1s"


def entries(site: Served, client: Client, titles: list[str]) -> list[str]:
    """For each title the page's text, or the reason that there is none."""
    reader = titled(client.api, client.pages(), titles)
    found = [entry.page for entry in reader.read(BEGINNING, lambda: None)]
    return [page.reason if isinstance(page, Rejected) else page.text if page else "" for page in found]


def test_titles_in_any_unicode_form_find_their_pages(site: Served, client: Client, tmp_path: Path) -> None:
    site.wiki.write(7, NFC, "A chapel.")
    assert titles_in(f"{NFD}|x") == [NFC, "x"]
    (tmp_path / "titles").write_bytes(b"\xef\xbb\xbf" + NFD.encode() + b"\r\n\nNowhere\n")
    titles = read_titles(tmp_path / "titles")
    assert titles == [NFC, "", "Nowhere", ""]
    assert entries(site, client, titles) == ["A chapel.", "", "missing", ""]
    site.wiki.write(8, f"Category:{NFC}", "", namespace=14)
    site.wiki.write(9, "Member", "In it.", categories=(NFC,))
    assert [member.pageid for member in pages_in(client.api, NFD, depth=0)] == [9]


def test_a_title_that_the_wiki_composes_by_itself_is_known_by_what_was_asked(site: Served, client: Client) -> None:
    page = {"pageid": 7, "ns": 0, "title": NFC, "lastrevid": 1}
    normalized = [{"fromencoded": True, "from": quote(NFD, safe=""), "to": NFC}]
    client.api.site()
    site.wiki.replies.append(Reply(body=json.dumps({"query": {"normalized": normalized, "pages": [page]}}).encode()))
    assert client.api.by_titles([NFD]).renamed == {NFD: NFC}


@pytest.mark.parametrize(
    "name",
    ["Harze", "Kategorie:Harze", "category:Harze", "kategorie :Harze", "Kat:Harze", "\u200eKategorie:Harze"],
)
def test_a_category_goes_by_any_of_the_wikis_names(site: Served, client: Client, name: str) -> None:
    site.wiki.namespaces[14] = "Kategorie"
    site.wiki.aliases = [(14, "Kat")]
    site.wiki.write(7, "Bernstein", "Ein Harz.", categories=("Harze",))
    assert [member.pageid for member in pages_in(client.api, name, depth=0)] == [7]


def test_pages_that_fail_one_after_another_are_the_servers_fault(site: Served, client: Client) -> None:
    for number in range(1, 31):
        site.wiki.write(number, f"Page {number}", "Text.")
    site.wiki.broken_pages = set(range(1, 31))
    with pytest.raises(TryAgain, match=r"21 pages in a row .* internal_api_error_RuntimeException"):
        entries(site, client, [f"Page {number}" for number in range(1, 31)])


def test_a_category_is_walked_once_though_it_contains_itself(site: Served, client: Client) -> None:
    for number in range(1, 6):
        site.wiki.write(number, f"Page {number}", "Some text.", categories=("Resins",))
    site.wiki.write(20, "Category:Fossil resins", "", namespace=14, categories=("Resins",))
    site.wiki.write(21, "Category:Resins", "", namespace=14, categories=("Fossil resins",))
    site.wiki.write(6, "Page 6", "Some text.", categories=("Fossil resins",))
    assert [m.pageid for m in pages_in(client.api, "Resins", depth=0)] == [1, 2, 3, 4, 5, 20]
    assert sorted(m.pageid for m in pages_in(client.api, "Category:Resins", depth=9)) == [1, 2, 3, 4, 5, 6, 20, 21]


def test_bytes_of_a_command_line_that_are_no_text_are_no_title(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin.")
    assert entries(site, client, ["Amber", "Caf\udce9"]) == ["Amber is a resin.", "invalid_title"]
    with pytest.raises(UsageError, match="is no title"):
        list(pages_in(client.api, "Caf\udce9", depth=0))


def test_a_page_of_a_category_that_is_gone_meanwhile_is_named(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin.", categories=("Resins",))
    wanted = [*pages_in(client.api, "Resins", depth=0)]
    site.wiki.delete(7)
    (entry,) = members(client.api, client.pages(), wanted).read(BEGINNING, lambda: None)
    assert entry.page == Rejected("missing", "Amber")


def test_reading_goes_on_behind_any_title_and_ends_with_the_tick(site: Served, client: Client) -> None:
    for number in range(1, 60):
        site.wiki.write(number, f"Page {number}", f"Text {number}.")
    titles = [f"Page {number}" if number % 7 else "" for number in range(1, 65)]
    whole = list(titled(client.api, client.pages(), titles).read(BEGINNING, lambda: None))
    ledger = Ledger()
    for entry in whole:
        ledger.take(entry)
        assert ledger.balanced, entry
    assert (ledger.lines, ledger.produced, ledger.blank, ledger.dropped) == (64, 51, 9, {"missing": 4})
    for place in (0, 1, 19, 20, 21, 63):
        rest = titled(client.api, client.pages(), titles).read(whole[place].after, lambda: None)
        assert list(rest) == whole[place + 1 :]

    def tick() -> None:
        raise Stopped

    site.wiki.replies.append(Reply(after_s=30))
    with pytest.raises(Stopped):
        list(titled(client.api, client.pages(), titles).read(BEGINNING, tick))
