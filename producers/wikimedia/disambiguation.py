"""Pages that only tell apart things of one name, by the categories that say so in each wiki's language."""

from __future__ import annotations

from collections.abc import Iterable

MARKS = (
    "disambiguation",  # English, Simple English; Indonesian has "disambiguasi"
    "disambig",
    "begriffsklärung",
    "homonymie",
    "desambigua",  # Spanish, Portuguese, Galician; Catalan "desambiguació"
    "disambigua",
    "doorverwijspagina",
    "ujednoznaczniając",
    "страницы значений",
    "неоднозначност",
    "багатозначн",
    "曖昧さ回避",
    "消歧义",
    "消歧義",
    "동음이의",
    "förgreningssid",
    "olika betydelser",
    "flertydig",
    "pekerside",
    "rozcestník",
    "rozlišovacie stránky",
    "egyértelműsítő",
    "täsmennyssivu",
    "täpsustuslehekül",
    "anlam ayrımı",
    "dezambiguizare",
    "αποσαφήνιση",
    "пояснителни страници",
    "вишезначн",
    "višeznačn",
    "razločit",
    "razdvojba",
    "trang định hướng",
    "توضيح",
    "ابهام‌زدایی",
    "פירושונים",
    "बहुविकल्पी",
    "แก้ความกำกวม",
    "argipen orri",
    "apartigil",
    "nuorodiniai straipsniai",
    "aðgreiningarsíð",
)
"""Parts of such categories' names, in lower case; beside each language's own, some maintenance categories carry it."""

NOT_A_MARK = ("in need of disambiguation", "with disambiguation", "needing disambiguation", "links needing")
"""Parts of the names of categories of articles that merely need work."""


def is_disambiguation(categories: Iterable[str]) -> bool:
    """True when one of a page's categories says that it is a disambiguation page."""
    lowered = (category.casefold() for category in categories)
    return any(
        any(mark in category for mark in MARKS) and not any(other in category for other in NOT_A_MARK)
        for category in lowered
    )
