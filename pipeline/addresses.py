"""Addresses without the secrets that they may hold: a password, a token or keys before the `@`, values of a query.

Users put them there because stores and servers take them there. They are used as given, and are neither shown nor
stored: our errors, log lines, printed lines and reports all pass here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from pipeline.known_secrets import HIDDEN, MIN_SECRET, known

_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,30})://([^\s'\"<>`]*)")
_END_OF_AUTHORITY = re.compile("[/?#]")
_PORT = re.compile(r"\d*")
_QUERY = re.compile(r"([?&;][^=&;#]*)=[^&;#]*")
_SECRET_PARAMETER = re.compile(r"(?i)^sig$|signature|token|secret|passw|credential|api-?_?key")

_CONTAINERS = frozenset({"abfs", "abfss", "wasb", "wasbs"})
"""Schemes that name a container before the `@`."""


def without_secrets(text: str, of: str = "") -> str:
    """The text with `***` in place of the secrets of every address in it, and of those that this process was given.

    Args:
        of: an address whose secrets may stand elsewhere in the text, as in what a library says of it.
    """
    if "://" in text:
        text = _ADDRESS.sub(_hidden, text)
    for secret in _secrets(of):
        text = text.replace(secret, HIDDEN)
    return known.hide(text)


def has_user(address: str) -> bool:
    """True when an address names a user, a password or keys."""
    found = _ADDRESS.match(address)
    return found is not None and _user(found) != ""


def _hidden(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2]
    if user := _user(found):
        rest = f"{HIDDEN}@{rest[len(user) + 1 :]}"
    path, mark, fragment = rest.partition("#")
    shown = _QUERY.sub(rf"\1={HIDDEN}", path)
    return f"{scheme}://{shown}{mark}{fragment}"


def _user(address: re.Match[str]) -> str:
    """The part before the `@`. A secret key of S3 may have a `/` in it, which then ends no host."""
    scheme, rest = address[1].lower(), address[2]
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at:
        return "" if scheme in _CONTAINERS and ":" not in user else user
    host, colon, port = authority.partition(":")
    if colon and not host.startswith("[") and not _PORT.fullmatch(port):
        return rest.rpartition("@")[0]
    return ""


def passwords_in(text: str) -> set[str]:
    """The passwords, tokens and signatures in all addresses of a text, as they are and without their escapes."""
    found = set()
    for address in _ADDRESS.finditer(text):
        query = (part.partition("=") for part in re.split("[?&;]", address[2].partition("#")[0])[1:])
        found |= {value for name, _, value in query if _SECRET_PARAMETER.search(name)}
        found.add(_user(address).partition(":")[2])
    return {spelled for value in found if len(value) >= MIN_SECRET for spelled in (value, unquote(value))}


def _secrets(address: str) -> list[str]:
    found = _ADDRESS.match(address)
    if found is None:
        return []
    user = _user(found)
    parts = [user, user.partition(":")[2]] if user else []
    parts += [value.partition("=")[2] for value in re.split("[&;]", urlsplit(address).query)]
    known = {text for part in parts for text in (part, unquote(part)) if len(text) >= MIN_SECRET}
    return sorted(known, key=len, reverse=True)
