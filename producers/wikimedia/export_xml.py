"""What a MediaWiki export says, in XML: of the wiki in its head, of a page in each of its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from producers.bytes.xml import HeadUnreadable, read_head
from producers.wikimedia.links import ENGLISH, LinkNames

_KEY = re.compile(r"-?[0-9]{1,6}")
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


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page in its last revision; `redirect` is its target's title, None for no redirect."""

    page_id: str
    namespace: str
    title: str
    revision: str
    timestamp: str
    model: str
    redirect: str | None
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
    base = root.findtext("{*}siteinfo/{*}base", "").strip()
    namespaces = root.iterfind("{*}siteinfo/{*}namespaces/{*}namespace")
    return Site(
        wiki=root.findtext("{*}siteinfo/{*}dbname", "").strip(),
        language=root.get(_LANGUAGE, ""),
        base=base[: base.rfind("/") + 1] if base.startswith(("http://", "https://")) else "",
        names=LinkNames.of(
            (int(key), name.text or "") for name in namespaces if _KEY.fullmatch(key := name.get("key", ""))
        ),
    )


def read_page(data: bytes) -> ExportedPage:
    """The page between `<page>` and `</page>`.

    Raises:
        ET.ParseError: it is no XML.
    """
    page = ET.fromstring(b"<page>" + data + b"</page>")  # noqa: S314 - a document type cannot stand here
    redirect = page.find("redirect")
    revisions = page.findall("revision")
    revision = revisions[-1] if revisions else ET.Element("revision")
    return ExportedPage(
        page_id=page.findtext("id", "").strip(),
        namespace=page.findtext("ns", "0").strip(),
        title=page.findtext("title", "").strip(),
        revision=revision.findtext("id", "").strip(),
        timestamp=revision.findtext("timestamp", "").strip(),
        model=revision.findtext("model", "").strip(),
        redirect=None if redirect is None else redirect.get("title", ""),
        wikitext=revision.findtext("text", ""),
    )
