"""A link leads to a page, a file, a category, or the same page in another language."""

from __future__ import annotations

import pytest

from producers.wikimedia.links import ENGLISH, Kind, LinkNames

GERMAN = LinkNames.of([(-2, "Medium"), (0, ""), (6, "Datei"), (6, "Bild"), (14, "Kategorie")])


@pytest.mark.parametrize(
    ("title", "kind", "name"),
    [
        ("Port", Kind.PAGE, "Port"),
        ("File:Plan.png", Kind.FILE, "Plan.png"),
        ("image:Plan", Kind.FILE, "Plan"),
        (" Category : Ports ", Kind.CATEGORY, "Ports"),
        ("category:Old_ports", Kind.CATEGORY, "Old ports"),
        ("\u200eCategory:Ports\u200e", Kind.CATEGORY, "Ports"),
        (":Category:Ships", Kind.PAGE, "Category:Ships"),
        (": File:Plan.png", Kind.PAGE, "File:Plan.png"),
        (":fr:Port", Kind.PAGE, "fr:Port"),
        ("fr:Port", Kind.LANGUAGE, "fr:Port"),
        ("zh-min-nan:Káng", Kind.LANGUAGE, "zh-min-nan:Káng"),
        ("Simple:Port", Kind.LANGUAGE, "Simple:Port"),
        ("voy:Harbour", Kind.PAGE, "voy:Harbour"),
        ("doi:10.1000/182", Kind.PAGE, "doi:10.1000/182"),
        ("rfc:2119", Kind.PAGE, "rfc:2119"),
        ("mw:Help:Links", Kind.PAGE, "mw:Help:Links"),
        ("c:File:Plan.png", Kind.PAGE, "c:File:Plan.png"),
        ("Media:Song.ogg", Kind.PAGE, "Media:Song.ogg"),
        ("Imagen:Plano.JPG", Kind.FILE, "Plano.JPG"),
        ("Caf&eacute; R&amp;D&reg#Menu", Kind.PAGE, "Café R&D&reg"),
        ("&#x43;ategory:Ports&#33;#x", Kind.CATEGORY, "Ports!"),
        ("#Menu", Kind.PAGE, ""),
        ("Star Wars: Port", Kind.PAGE, "Star Wars: Port"),
        ("Category:", Kind.PAGE, "Category:"),
        ("", Kind.PAGE, ""),
    ],
)
def test_the_prefix_decides_and_a_colon_before_it_makes_a_link_of_anything(title: str, kind: Kind, name: str) -> None:
    assert ENGLISH.target(title) == (kind, name)


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Datei:Karte.png", Kind.FILE),
        ("Bild:Karte", Kind.FILE),
        ("DATEI:Karte", Kind.FILE),
        ("File:Karte", Kind.FILE),
        ("Kategorie:Orte", Kind.CATEGORY),
        ("Category:Orte", Kind.CATEGORY),
        ("Medium:Lied.ogg", Kind.PAGE),
        (":Datei:Karte.png", Kind.PAGE),
    ],
)
def test_a_wiki_has_its_own_names_beside_the_english_ones(title: str, kind: Kind) -> None:
    assert GERMAN.target(title).kind is kind


def test_names_of_two_words_are_known_with_a_space_and_with_an_underscore() -> None:
    names = LinkNames.of([(6, "Tập_tin"), (14, "Thể loại")])
    assert names.target("tập tin:A").kind is names.target("Tập_tin:A").kind is Kind.FILE
    assert names.target("Thể_loại:Cảng") == (Kind.CATEGORY, "Cảng")
