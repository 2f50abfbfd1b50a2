"""What a MediaWiki export says, in XML: of the wiki in its head, of a page in each of its pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from producers.wikimedia.prose import ENGLISH, ENGLISH_CATEGORY, ENGLISH_MEDIA, LinkNames

MAX_HEAD_BYTES = 1024 * 1024

_HEAD_ENDS = (b"</siteinfo>", b"<page>", b"</mediawiki>")
_MEDIA, _FILE, _CATEGORY = "-2", "6", "14"
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
    head = _head(blocks)
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise NotAnExport("it has a document type, which no export has")
    try:
        root = ET.fromstring(head + b"</mediawiki>")  # noqa: S314 - no document type, so no entities
    except (ET.ParseError, ValueError) as error:
        raise NotAnExport(f"its head cannot be read ({error})") from None
    if not root.tag.endswith("mediawiki"):
        raise NotAnExport(f"it begins with <{root.tag[:50]}>")
    base = root.findtext("{*}siteinfo/{*}base", "").strip()
    names = {name.get("key", ""): name.text or "" for name in root.iterfind("{*}siteinfo/{*}namespaces/{*}namespace")}
    return Site(
        wiki=root.findtext("{*}siteinfo/{*}dbname", "").strip(),
        language=root.get(_LANGUAGE, ""),
        base=base[: base.rfind("/") + 1] if base.startswith(("http://", "https://")) else "",
        names=LinkNames(
            _distinct(ENGLISH_MEDIA, names.get(_FILE), names.get(_MEDIA)),
            _distinct(ENGLISH_CATEGORY, names.get(_CATEGORY)),
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


def _head(blocks: Iterable[bytes]) -> bytes:
    """Up to the end of `<siteinfo>`, or to the first page of an export that has none."""
    head = bytearray()
    for block in blocks:
        head += block[: MAX_HEAD_BYTES + 1 - len(head)]
        ends = [(place, tag) for tag in _HEAD_ENDS if (place := head.find(tag)) >= 0]
        if ends:
            place, tag = min(ends)
            return bytes(head[: place + len(tag)] if tag == _HEAD_ENDS[0] else head[:place])
        if len(head) > MAX_HEAD_BYTES:
            break
    raise NotAnExport(f"there is no page in its first {len(head):,} bytes")


def _distinct(english: tuple[str, ...], *own: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*english, *(name.lower() for name in own if name))))
