"""The name under which we ask: public servers want to know whom to write to before they block an address.

Wikimedia's policy (https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy) asks for a client's name and a way
to reach its operator; its servers answer 403 without.
"""

from __future__ import annotations

import ipaddress
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from pipeline.errors import UsageError

_OURS = re.compile(r"https?://(?:www\.)?github\.com/cirrostream(?:[/?#].*)?", re.IGNORECASE)
_REACHABLE = re.compile(r"[^\s@()<>]+@[^\s@()<>]+\.[^\s@()<>]+|https?://[^\s()<>]+")


def _contact(value: str) -> str:
    # Printable ASCII only: it becomes a header, where a line break would start another one.
    if value and (len(value) > 200 or not value.isascii() or not _REACHABLE.fullmatch(value)):
        raise ValueError("an e-mail address or an https:// address, such as you@example.org")
    if _OURS.fullmatch(value):
        raise ValueError("the address of this project, not of you: whoever is asked would write to the wrong people")
    return value


Contact = Annotated[str, AfterValidator(_contact)]
"""E-mail or web address of the operator; empty when it is not given."""


def user_agent(contact: str, url: str) -> str:
    """The name to give ourselves at this server.

    Raises:
        UsageError: there is no contact, and the server is not on this machine.
    """
    name = f"cirrostream/{_version()}"
    if contact:
        return f"{name} ({contact})"
    host = urlsplit(url).hostname or ""
    if not is_loopback(host):
        raise UsageError(
            f"{host}: its operators want to know who asks: set --contact (CIRROSTREAM_CONTACT) to your e-mail "
            "address or a page about you"
        )
    return name


def is_loopback(host: str) -> bool:
    """True when the host is this machine, by its name or address alone: nothing is looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _version() -> str:
    try:
        return version("cirrostream")
    except PackageNotFoundError:
        return "0"  # run from its sources
