"""The contents of a MediaWiki export, in XML: of the wiki in its head, of a page in each of its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from producers.bytes.xml import HeadUnreadable, read_head
from producers.wikimedia.links import ENGLISH, LinkNames, plain_name

_KEY = re.compile(r"-?[0-9]{1,6}")
_REVISION = re.compile(r"[0-9]{1,19}")
_REDIRECT = re.compile(r"\s*+#\s*+([^\s\[\]{}|#<>:*;]{2,40}+)\s*+:?\s*+\[\[[^\[\]]++\]\]")
_NO_WORDS = re.compile(r"\s+|<!--.*?-->|\{\{[^{}]*\}\}|\[\[[^\[\]]*\]\]|__\w+__", re.DOTALL)
MAX_BESIDE_REDIRECT = 5_000
"""Characters; so that no text makes these patterns slow."""

ENGLISH_NAMESPACES = {
    "media": -2,
    "special": -1,
    "talk": 1,
    "user": 2,
    "user talk": 3,
    "project": 4,
    "project talk": 5,
    "file": 6,
    "image": 6,
    "file talk": 7,
    "image talk": 7,
    "mediawiki": 8,
    "mediawiki talk": 9,
    "template": 10,
    "template talk": 11,
    "help": 12,
    "help talk": 13,
    "category": 14,
    "category talk": 15,
}
"""Understood by every wiki. https://www.mediawiki.org/wiki/Manual:Namespace"""

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class NotAnExport(ValueError):
    """The file does not begin as a MediaWiki export does."""


@dataclass(frozen=True, slots=True)
class Site:
    """The wiki; empty what the export does not say."""

    wiki: str = ""
    language: str = ""
    base: str = ""
    """Address of its pages without the title, such as `https://en.wikipedia.org/wiki/`."""
    names: LinkNames = ENGLISH
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """Number by name, as `plain_name` has it; for exports that do not number their pages' namespaces."""

    def namespace_of(self, title: str) -> int:
        """By the title's prefix: the main namespace where there is none, or one that is of no namespace."""
        prefix, colon, rest = title.partition(":")
        name = plain_name(prefix)
        return self.namespaces.get(name, ENGLISH_NAMESPACES.get(name, 0)) if colon and rest.strip() else 0


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page in its newest revision; `namespace` is empty where the export does not number it."""

    page_id: str
    namespace: str
    title: str
    revision: str
    timestamp: str
    model: str
    redirect: bool
    wikitext: str


def read_site(blocks: Iterable[bytes]) -> Site:
    """The wiki that an export is of.

    Raises:
        NotAnExport: with what is wrong.
    """
    try:
        root = read_head(blocks)
    except HeadUnreadable as error:
        raise NotAnExport(str(error)) from None
    if not root.tag.endswith("mediawiki"):
        raise NotAnExport(f"it begins with <{root.tag[:50]}>")
    found = root.iterfind("{*}siteinfo/{*}namespaces/{*}namespace")
    named = [(int(key), name.text or "") for name in found if _KEY.fullmatch(key := name.get("key", ""))]
    return Site(
        wiki=root.findtext("{*}siteinfo/{*}dbname", "").strip(),
        language=root.get(_LANGUAGE, ""),
        base=_base(root.findtext("{*}siteinfo/{*}base", "").strip()),
        names=LinkNames.of(named),
        namespaces={plain_name(name): number for number, name in named if name},
    )


def _base(main_page: str) -> str:
    try:
        parts = urlsplit(main_page)
    except ValueError:
        return ""
    return main_page[: main_page.rfind("/") + 1] if parts.scheme in ("http", "https") and parts.hostname else ""


def read_page(data: bytes) -> ExportedPage:
    """The page between `<page>` and `</page>`.

    Raises:
        ET.ParseError: it is no XML.
    """
    page = ET.fromstring(b"<page>" + data + b"</page>")  # noqa: S314 - a document type cannot stand here
    revision = max(page.iterfind("revision"), key=_age, default=ET.Element("revision"))
    wikitext = revision.findtext("text", "")
    return ExportedPage(
        page_id=page.findtext("id", "").strip(),
        namespace=page.findtext("ns", "").strip(),
        title=page.findtext("title", "").strip(),
        revision=revision.findtext("id", "").strip(),
        timestamp=revision.findtext("timestamp", "").strip(),
        model=revision.findtext("model", "").strip(),
        redirect=page.find("redirect") is not None or is_redirect(wikitext),
        wikitext=wikitext,
    )


def is_redirect(wikitext: str) -> bool:
    """True for `#REDIRECT [[Port]]`, which every wiki understands, and for any other word if there is nothing else on
    the page but templates, categories and comments: each language has its own word, and a list may begin like one."""
    found = _REDIRECT.match(wikitext)
    if found is None or found[1].casefold() == "redirect":
        return found is not None
    rest = wikitext[found.end() :]
    return len(rest) <= MAX_BESIDE_REDIRECT and not _NO_WORDS.sub("", rest)


def _age(revision: ET.Element) -> tuple[str, int]:
    """By time, which ISO 8601 orders as text, then by number: histories come in any order."""
    number = revision.findtext("id", "").strip()
    return revision.findtext("timestamp", "").strip(), int(number) if _REVISION.fullmatch(number) else 0
