"""Settings of sources that ask a wiki: who asks, and for what."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import UsageError
from producers.fetch.contact import user_agent
from producers.mediawiki import MediaWikiSettings


def test_only_servers_of_this_machine_are_asked_without_a_contact() -> None:
    assert user_agent("", "http://localhost:8080/w/api.php").startswith("cirrostream/")
    assert user_agent("", "http://[::1]/api.php")
    assert user_agent("me@example.org", "https://en.wikipedia.org/").endswith(" (me@example.org)")
    with pytest.raises(UsageError, match="CIRROSTREAM_CONTACT"):
        user_agent("", "https://en.wikipedia.org/w/api.php")
    with pytest.raises(UsageError):
        user_agent("", "https://127.0.0.1.example.org/w/api.php")


OWN = "https://github.com/cirrostream/cirrostream"


@pytest.mark.parametrize("contact", [OWN, f"{OWN}/", f"{OWN}/blob/main/README.md", "http://www.GitHub.com/Cirrostream"])
def test_a_contact_that_is_this_projects_own_address_is_refused(contact: str) -> None:
    with pytest.raises(ValidationError, match="the address of this project, not of you"):
        MediaWikiSettings(wiki="enwiki", titles="A", contact=contact)


@pytest.mark.parametrize("contact", ["me", "a@b.org\r\nX: y", "http://x y", "ä@example.org", "(a@b.org)"])
def test_a_contact_that_is_none_or_breaks_a_header_is_refused(contact: str) -> None:
    with pytest.raises(ValidationError, match="an e-mail address"):
        MediaWikiSettings(wiki="enwiki", titles="A", contact=contact)


def test_the_api_of_a_wikimedia_wiki_follows_from_its_name() -> None:
    assert MediaWikiSettings(wiki="simplewiki", titles="A").api_url == "https://simple.wikipedia.org/w/api.php"
    with pytest.raises(UsageError, match="--api"):
        _ = MediaWikiSettings(wiki="mine", titles="A").api_url


@pytest.mark.parametrize("fields", [{}, {"titles": "A", "category": "B"}], ids=["nothing", "two things"])
def test_it_must_be_said_in_one_way_which_pages(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="in one way"):
        MediaWikiSettings(wiki="simplewiki", **fields)
