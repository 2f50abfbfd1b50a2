"""Under which licence a text may be passed on: its publisher's, as far as the row of the table tells it.

Wikimedia's wikis changed from CC BY-SA 3.0 to 4.0 on 7 June 2023. Older text is under 3.0, and but for
Wikivoyage's under the GFDL as well. https://foundation.wikimedia.org/wiki/Policy:Terms_of_Use
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

CHANGED = "20230607"

_SHARED = frozenset({"wikipedia", "wiktionary", "wikibooks", "wikiquote", "wikisource", "wikiversity", "wikivoyage"})
"""Projects whose text is under CC BY-SA. Wikinews has another licence in almost each language: its pages name it."""
_NO_GFDL = "wikivoyage"
_HOST = re.compile(r"(?:[a-z0-9-]+\.)+([a-z]+)\.org")
_NOT_DIGITS = re.compile(r"\D")


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence by name, and where its text is; both empty when it is not known."""

    name: str = ""
    url: str = ""


CC_BY_SA_4 = Licence("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/")
CC_BY_SA_3 = Licence("CC BY-SA 3.0", "https://creativecommons.org/licenses/by-sa/3.0/")
CC_BY_SA_3_AND_GFDL = Licence("CC BY-SA 3.0 and GFDL", CC_BY_SA_3.url)


class _Metadata(msgspec.Struct):
    license: object = None
    licence: object = None


def host_of(url: str) -> str:
    """The host that published a page, from its address; empty when it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def licence_of(url: str, snapshot: str, timestamp: str, metadata: str) -> Licence:
    """The licence of a page's text: what its source says in the field `license`, else that of its wiki at the time.

    The time is the snapshot's, for a wiki publishes all its pages anew, or else the revision's.
    """
    if own := _own(metadata):
        return Licence(own, own if own.startswith(("https://", "http://")) else "")
    found = _HOST.fullmatch(host_of(url))
    project = found[1] if found is not None else ""
    if project not in _SHARED:
        return Licence()
    date = snapshot or _NOT_DIGITS.sub("", timestamp)[:8]
    if date and date < CHANGED:
        return CC_BY_SA_3 if project == _NO_GFDL else CC_BY_SA_3_AND_GFDL
    return CC_BY_SA_4


def _own(metadata: str) -> str:
    try:
        found = msgspec.json.decode(metadata or "{}", type=_Metadata)
    except msgspec.DecodeError:
        return ""
    return next((text for text in (found.license, found.licence) if isinstance(text, str)), "")
