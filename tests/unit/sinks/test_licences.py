"""A text that is passed on names its source and its licence."""

from __future__ import annotations

import io

import msgspec
import pytest

from pipeline.terminal import Console
from sinks.licences import CC_BY_SA_3, CC_BY_SA_3_AND_GFDL, CC_BY_SA_4, Licence, licence_of
from sinks.search import Answer, Hit
from sinks.search.hits import hit_of
from sinks.search.screen import show

ALBEDO = "https://en.wikipedia.org/wiki/Albedo"


@pytest.mark.parametrize(
    ("url", "snapshot", "timestamp", "licence"),
    [
        (ALBEDO, "20160501", "2016-04-30T00:00:00Z", CC_BY_SA_3_AND_GFDL),
        (ALBEDO, "20261115", "2016-04-30T00:00:00Z", CC_BY_SA_4),
        (ALBEDO, "", "2016-04-30T00:00:00Z", CC_BY_SA_3_AND_GFDL),
        (ALBEDO, "", "2026-04-30T00:00:00Z", CC_BY_SA_4),
        (ALBEDO, "", "", CC_BY_SA_4),
        ("https://de.wikivoyage.org/wiki/Bonn", "20200101", "", CC_BY_SA_3),
        ("https://en.wikinews.org/wiki/Today", "20261115", "", Licence()),
        ("https://wikipedia.org.example/wiki/Albedo", "20261115", "", Licence()),
        ("https://wiki.example.org/wiki/Albedo", "20261115", "", Licence()),
        ("http://[bad", "", "", Licence()),
        ("", "20261115", "", Licence()),
    ],
)
def test_the_licence_is_that_of_the_wiki_at_the_time(url: str, snapshot: str, timestamp: str, licence: Licence) -> None:
    assert licence_of(url, snapshot, timestamp, "") == licence


def test_a_document_of_ones_own_may_say_its_licence_itself() -> None:
    deed = "http://creativecommons.org/licenses/by/4.0/"
    assert licence_of("", "", "", msgspec.json.encode({"license": deed}).decode()) == Licence(deed, deed)
    assert licence_of("", "", "", '{"licence":"MIT"}') == Licence("MIT")
    for metadata in ('{"license":5}', "[]", "{", '{"doi":"x"}'):
        assert licence_of("", "", "", metadata) == Licence()


def found(**fields: object) -> Hit:
    row = {
        "id": "enwiki:1#0", "page": "enwiki:1", "wiki": "enwiki", "title": "Albedo", "url": ALBEDO, "text": "Snow.",
        "n": 0, "n_chunks": 1, "start": 0, "end": 5, "revision": 1, "timestamp": "2016-04-30T00:00:00Z",
        "snapshot": "20160501", "metadata": "", "language": "en",
    }  # fmt: skip
    return hit_of(1, row | fields, 0.5)


def test_a_search_names_source_and_licence_in_both_its_forms() -> None:
    hits = [found(), found(title="Snow"), found(url="", wiki="notes", metadata='{"licence":"MIT"}'), found(url="")]
    answer = Answer(question="q", table="t", model="m", mode="vector", wiki="", k=1, seconds=0.1, hits=hits)
    document = msgspec.to_builtins(answer)["hits"][0]
    assert document["source"] == "en.wikipedia.org"
    assert document["licence"] == "CC BY-SA 3.0 and GFDL"
    assert document["licence_url"] == "https://creativecommons.org/licenses/by-sa/3.0/"
    assert document["url"] == ALBEDO
    screen = io.StringIO()
    show(answer, Console(file=screen, width=120))
    lines = screen.getvalue().splitlines()
    assert lines[-3:] == [
        "Text of en.wikipedia.org: CC BY-SA 3.0 and GFDL",
        "Text of notes: MIT",
        "Text of enwiki: licence not known",
    ]
