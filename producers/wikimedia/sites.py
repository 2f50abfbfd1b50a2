"""The site of a wiki by its database name, such as `enwiki`: the host, the language, a page's address."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote

_PROJECTS = {
    "wiktionary": "wiktionary.org",
    "wikibooks": "wikibooks.org",
    "wikiquote": "wikiquote.org",
    "wikisource": "wikisource.org",
    "wikinews": "wikinews.org",
    "wikiversity": "wikiversity.org",
    "wikivoyage": "wikivoyage.org",
    "wiki": "wikipedia.org",
}

_NO_LANGUAGE = {
    "commonswiki": "commons.wikimedia.org",
    "incubatorwiki": "incubator.wikimedia.org",
    "mediawikiwiki": "www.mediawiki.org",
    "metawiki": "meta.wikimedia.org",
    "outreachwiki": "outreach.wikimedia.org",
    "sourceswiki": "wikisource.org",
    "specieswiki": "species.wikimedia.org",
    "wikidatawiki": "www.wikidata.org",
    "wikifunctionswiki": "www.wikifunctions.org",
    "wikimaniawiki": "wikimania.wikimedia.org",
}

# Sites whose address and database have parted.
_RENAMED = {"be_x_old": "be-tarask"}

_CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
"""`my_wiki`, as a new MediaWiki calls its database, is none of Wikimedia's."""

# What MediaWiki's own links leave unescaped.
_SAFE = "/:@!$*(),;~"


@cache
def site(wiki: str) -> tuple[str, str]:
    """Host and language of a Wikimedia wiki; both empty when the name is not of a known form.

    The language is the host's first label: `simple` for simplewiki, whose pages are in `en`.
    """
    if wiki in _NO_LANGUAGE:
        return _NO_LANGUAGE[wiki], ""
    for suffix, domain in _PROJECTS.items():
        code = wiki.removesuffix(suffix)
        if code != wiki and _CODE.fullmatch(code):
            language = _RENAMED.get(code, code.replace("_", "-"))
            return f"{language}.{domain}", language
    return "", ""


def page_url(wiki: str, title: str) -> str:
    """Address of the page with this full title; empty for an unknown wiki."""
    host, _ = site(wiki)
    return f"https://{host}/wiki/{as_path(title)}" if host else ""


def as_path(title: str) -> str:
    """A full title as the last part of an address, as MediaWiki writes it."""
    return quote(title.replace(" ", "_"), safe=_SAFE)
