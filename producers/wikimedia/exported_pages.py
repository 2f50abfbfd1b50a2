"""A page of a MediaWiki export to a page of ours, or to the reason why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from pipeline.records import Page, text_hash, valid_page_id
from pipeline.rejected import Rejected
from producers.wikimedia.documents import INT64_MAX
from producers.wikimedia.export_xml import ExportedPage, Site, read_page
from producers.wikimedia.parser_child import Parsed
from producers.wikimedia.sites import as_path, page_url, site


@dataclass(frozen=True, slots=True)
class ExportedPages:
    """Makes pages of the XML of one export, keeping those in the chosen namespaces."""

    wiki: str
    site: Site
    snapshot: str
    namespaces: frozenset[int]

    def wanted(self, xml: bytes, notes: list[str]) -> ExportedPage | Rejected:
        """The page in what stands between `<page>` and `</page>`, or why there is none; what was wrong and left out is
        added to `notes`."""
        exported = _decoded(xml, notes)
        if exported is None:
            return Rejected("not_xml", damaged=True)
        reason = self._unwanted(exported)
        return Rejected(reason) if reason else exported

    def page(self, exported: ExportedPage | Rejected, parsed: Parsed | Rejected, notes: list[str]) -> Page | Rejected:
        """The page with its wikitext, parsed meanwhile, or the first reason why there is none."""
        if isinstance(exported, Rejected):
            return exported
        if isinstance(parsed, Rejected):
            return parsed
        if not parsed.text:
            return Rejected("empty")
        notes.extend(parsed.left)
        return self._page(exported, parsed, notes)

    def _unwanted(self, exported: ExportedPage) -> str:
        """The reason why the page is left out, before its wikitext is parsed, which takes the longest."""
        if exported.redirect:
            return "redirect"
        namespace = self._namespace(exported)
        if namespace is None:
            return "bad_type"
        if namespace not in self.namespaces:
            return "namespace"
        if exported.model not in ("", "wikitext"):
            return "content_model"
        if not exported.title:
            return "missing_title"
        return _bad_id(exported.page_id)

    def _page(self, exported: ExportedPage, parsed: Parsed, notes: list[str]) -> Page:
        revision = _number(exported.revision)
        if exported.revision and (revision is None or not 0 <= revision <= INT64_MAX):
            revision = None
            notes.append("revision")
        return Page(
            wiki=self.wiki,
            page_id=exported.page_id,
            title=exported.title,
            text=parsed.text,
            opening_text=parsed.opening_text,
            revision=revision,
            url=self._url(exported.title),
            timestamp=exported.timestamp,
            categories=parsed.categories,
            language=self.site.language or site(self.wiki)[1],
            namespace=self._namespace(exported) or 0,
            snapshot=self.snapshot,
            text_hash=text_hash(exported.title, parsed.text),
        )

    def _namespace(self, exported: ExportedPage) -> int | None:
        return _number(exported.namespace) if exported.namespace else self.site.namespace_of(exported.title)

    def _url(self, title: str) -> str:
        """As the export has its main page's; a Wikimedia wiki's as it is today: old exports have it without TLS."""
        base, host = self.site.base, site(self.wiki)[0]
        if base and urlsplit(base).hostname != host:
            return base + as_path(title)
        return page_url(self.wiki, title)


def _decoded(xml: bytes, notes: list[str]) -> ExportedPage | None:
    try:
        return read_page(xml)
    except ET.ParseError:
        repaired = xml.decode("utf-8", "replace").encode()
    try:
        exported = read_page(repaired) if repaired != xml else None
    except ET.ParseError:
        return None
    notes.append("text_encoding")
    return exported


def _bad_id(page_id: str) -> str:
    if not page_id:
        return "missing_id"
    return "" if page_id.isdecimal() and valid_page_id(page_id) else "bad_type"


def _number(digits: str) -> int | None:
    try:
        return int(digits[:32])
    except ValueError:
        return None
