"""A folder's listing, as web servers print it, to the names in it.

Servers differ in everything but the links: relative or from the root, `=` as `%3D`, with a size behind the link or in
a table. The text of a link is not trusted: only names directly in the folder count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from producers.fetch.remote_file import Refused

FED_CHARACTERS = 64 * 1024
MAX_TAG_CHARACTERS = 256 * 1024
"""Of a tag, a comment or a script. When the parser is told that the page is over, it begins anew at each tag that has
no end: 60 kB of them took two minutes. So it is never told, and a page with a longer one is no listing."""

MAX_BEHIND_CHARACTERS = 200

_SIZE = re.compile(r"\s+\S+\s+\S+\s+(\d{1,15})\s*")
"""Behind a link, as nginx and Apache print it: date, time, bytes. Rounded ones, such as 610M, are left alone."""


@dataclass(slots=True)
class Listing:
    """The names in a folder, those of folders without their slash; and the size where the listing says it."""

    sizes: dict[str, int | None] = field(default_factory=dict)
    outside: int = 0
    """Links to somewhere that is neither in the folder nor above it on this server: never followed."""


def read_listing(html: str, address: str) -> Listing:
    """The listing of the folder at `address`, which ends with a slash.

    Raises:
        Refused: it is no listing.
    """
    links = _Links()
    for begin in range(0, len(html), FED_CHARACTERS):
        links.feed(html[begin : begin + FED_CHARACTERS])
        if len(links.rawdata) > MAX_TAG_CHARACTERS:
            raise Refused(f"{address}: the listing has a tag without an end; is this a mirror?")
    links.feed("</html>")  # brings what stands behind the last link
    listing = Listing()
    for href, behind in links.found:
        name = _name_in(href, address)
        if name is None:
            listing.outside += not _leads_up(href, address)
        else:
            size = _SIZE.fullmatch(behind)
            listing.sizes.setdefault(name, int(size[1]) if size else None)
    return listing


class _Links(HTMLParser):
    """Collects each link's address and the text between it and the next tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._behind = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._behind = False
        if tag == "a":
            self.found.extend((value.strip(), "") for name, value in attributes if name == "href" and value)

    def handle_endtag(self, tag: str) -> None:
        self._behind = tag == "a"

    def handle_data(self, text: str) -> None:
        if self._behind and self.found:
            href, behind = self.found[-1]
            self.found[-1] = (href, behind + text[: MAX_BEHIND_CHARACTERS - len(behind)])


def _name_in(href: str, address: str) -> str | None:
    """The name directly below the folder that the link means; None for any other place."""
    try:
        target, folder = urlsplit(urljoin(address, href)), urlsplit(address)
    except ValueError:
        return None
    if (target.scheme, target.netloc) != (folder.scheme, folder.netloc) or target.query or target.fragment:
        return None
    path, base = unquote(target.path), unquote(folder.path)
    name = path.removeprefix(base).removesuffix("/")
    inside = path.startswith(base) and name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f]", name)
    return name if inside else None


def _leads_up(href: str, address: str) -> bool:
    """The links that every listing has: to the folders above, and to itself in another order."""
    if href.startswith(("?", "#")):
        return True
    try:
        target, folder = urlsplit(urljoin(address, href)), urlsplit(address)
    except ValueError:
        return False
    same = (target.scheme, target.netloc) == (folder.scheme, folder.netloc)
    return same and target.path.endswith("/") and unquote(folder.path).startswith(unquote(target.path))
