"""From a wiki's database name to its pages' addresses."""

from __future__ import annotations

import pytest

from producers.wikimedia.sites import page_url, site


@pytest.mark.parametrize(
    ("wiki", "host", "language"),
    [
        ("enwiki", "en.wikipedia.org", "en"),
        ("simplewiki", "simple.wikipedia.org", "simple"),
        ("zh_min_nanwiki", "zh-min-nan.wikipedia.org", "zh-min-nan"),
        ("be_x_oldwiki", "be-tarask.wikipedia.org", "be-tarask"),
        ("enwiktionary", "en.wiktionary.org", "en"),
        ("dewikisource", "de.wikisource.org", "de"),
        ("commonswiki", "commons.wikimedia.org", ""),
        ("wikidatawiki", "www.wikidata.org", ""),
        ("wiki", "", ""),
        ("my_wiki", "", ""),
        ("_wiki", "", ""),
        ("Mywiki", "", ""),
        ("a.b/wiki", "", ""),
        ("arxiv", "", ""),
        ("", "", ""),
    ],
)
def test_a_wiki_has_its_site(wiki: str, host: str, language: str) -> None:
    assert site(wiki) == (host, language)


def test_a_title_is_percent_encoded_as_mediawiki_does() -> None:
    assert page_url("enwiki", "AC/DC (band): 100% *live*?") == (
        "https://en.wikipedia.org/wiki/AC/DC_(band):_100%25_*live*%3F"
    )
    assert page_url("arxiv", "A title") == ""
