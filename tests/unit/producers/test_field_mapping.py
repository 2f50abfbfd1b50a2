"""Any record becomes a page by the fields that the user names, and nothing of it is lost in silence."""

from __future__ import annotations

import json

import pytest

from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.fields.arxiv import RESHAPING as ARXIV
from producers.fields.mapping import FieldMapping, as_timestamp, field, opening_of, without
from producers.fields.settings import MappingSettings

DOCS = FieldMapping("docs")


def page_of(record: dict[str, object], mapping: FieldMapping = DOCS) -> Page:
    read = mapping.read(record, [])
    assert isinstance(read, Page), read
    return read


def noted(record: dict[str, object], mapping: FieldMapping = DOCS) -> list[str]:
    notes: list[str] = []
    read = mapping.read(record, notes)
    assert isinstance(read, Page), read
    return notes


def test_a_record_with_the_usual_names_needs_no_mapping() -> None:
    page = page_of(
        {
            "id": 7,
            "title": " A  story\n of ice ",
            "text": "It froze.",
            "url": "https://example.org/7",
            "language": "en",
            "timestamp": "2026-11-15T10:20:30+02:00",
            "categories": ["Ice", "Ice", "Snow"],
            "mood": "cold",
            "year": 1812,
        }
    )
    assert page.key == "docs:7"
    assert (page.title, page.text, page.opening_text) == ("A story of ice", "It froze.", "It froze.")
    assert (page.url, page.language, page.timestamp) == ("https://example.org/7", "en", "2026-11-15T08:20:30Z")
    assert page.categories == ("Ice", "Snow")
    assert json.loads(page.metadata) == {"mood": "cold", "year": 1812}


def test_fields_of_other_names_and_nested_ones_are_found_and_texts_joined() -> None:
    mapping = FieldMapping(
        "papers", id_field="ref.doi", title_field="name", text_fields=("summary", "body.plain", "missing"), url_field=""
    )
    record: dict[str, object] = {
        "ref": {"doi": "10.1/x"},
        "name": "N",
        "summary": "One.",
        "body": {"plain": "Two.", "html": "<p>"},
        "url": "not looked at",
    }
    page = page_of(record, mapping)
    assert (page.key, page.title, page.text, page.url) == ("papers:10.1/x", "N", "One.\n\nTwo.", "")
    assert json.loads(page.metadata) == {"body": {"html": "<p>"}, "url": "not looked at"}


def test_a_name_with_a_dot_in_it_is_taken_as_it_is_before_it_is_a_path() -> None:
    record = {"a.b": 1, "a": {"b": 2, "c": {"d.e": 3}}}
    assert (field(record, "a.b"), field(record, "a.c.d.e"), field(record, "a.c.d.f")) == (1, 3, None)
    assert without(record, ["a.b", "a.c.d.e"]) == {"a": {"b": 2, "c": None}}
    assert record["a"] == {"b": 2, "c": {"d.e": 3}}, "the record itself is left alone"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "missing_id"),
        ({"id": None, "text": "x"}, "missing_id"),
        ({"id": "", "text": "x"}, "missing_id"),
        ({"id": 1.5, "text": "x"}, "bad_type"),
        ({"id": True, "text": "x"}, "bad_type"),
        ({"id": ["1"], "text": "x"}, "bad_type"),
        ({"id": "a\nb", "text": "x"}, "bad_id"),
        ({"id": "i" * 257, "text": "x"}, "bad_id"),
        ({"id": 1}, "missing_text"),
        ({"id": 1, "text": None}, "missing_text"),
        ({"id": 1, "text": 5}, "bad_type"),
        ({"id": 1, "text": ["x"]}, "bad_type"),
        ({"id": 1, "text": " \n"}, "empty"),
    ],
)
def test_without_an_id_or_a_text_there_is_no_page_but_a_reason(record: dict[str, object], reason: str) -> None:
    assert DOCS.read(record, []) == Rejected(reason)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", 5),
        ("url", "javascript:alert(1)"),
        ("url", 'https://example.org/"onclick="x'),
        ("language", "in english, please"),
        ("timestamp", "yesterday"),
        ("timestamp", 1_700_000_000),
        ("categories", {"a": 1}),
        ("categories", ["fine", 7]),
    ],
)
def test_an_optional_field_of_a_wrong_type_costs_itself_and_is_noted(name: str, value: object) -> None:
    record = {"id": 1, "text": "x", name: value}
    assert noted(record) == [name]
    assert getattr(page_of(record), name) in ("", (), ("fine",))


def test_metadata_is_bounded_by_its_largest_fields() -> None:
    mapping = FieldMapping("docs", max_metadata_bytes=100, skip_fields=("html",))
    record = {"id": 1, "text": "x", "html": "y" * 50, "vector": [0.5] * 99, "by": "Ada", "big": 2**80, "none": None}
    page = page_of(record, mapping)
    assert json.loads(page.metadata) == {"by": "Ada", "big": 2**80}
    assert noted(record, mapping) == ["metadata"]
    assert page_of({"id": 1, "text": "x"}).metadata == ""


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-11-15", "2026-11-15"),
        ("2026-11-15T01:02:03Z", "2026-11-15T01:02:03Z"),
        ("2026-11-15 01:02:03.123456Z", "2026-11-15T01:02:03Z"),
        ("2026-11-15 01:02:03", "2026-11-15T01:02:03"),
        ("0476-09-04T12:00:00+01:00", "0476-09-04T11:00:00Z"),
        ("0476-09-04", "0476-09-04"),
        ("0001-01-01T00:00:00+23:00", None),
        ("15.11.2026", None),
    ],
)
def test_a_timestamp_is_a_date_or_a_moment_in_utc(given: str, kept: str | None) -> None:
    assert as_timestamp(given) == kept


def test_the_opening_is_whole_paragraphs_of_the_beginning() -> None:
    text = "A sentence. " * 100 + "\n\n" + "More. " * 1_000
    assert opening_of(text) == "A sentence. " * 100
    assert len(opening_of("word " * 1_000)) < 2_000
    assert opening_of("x" * 5_000) == "x" * 2_000


PAPER: dict[str, object] = {
    "id": "hep-th/9901001",
    "submitter": "Ada L.",
    "authors": "Ada Lovelace and\n  Charles Babbage",
    "title": "On engines\n  that weave",
    "comments": "3 pages, no figures",
    "journal-ref": "Phys.Rev.X99:1,1999",
    "doi": "10.1000/xyz",
    "report-no": "AE-1",
    "categories": "hep-th cs.PL",
    "license": "http://example.org/license",
    "abstract": "  We show that an engine\nweaves.\n  It is fast.\n",
    "versions": [
        {"version": "v1", "created": "Mon, 2 Apr 2007 19:18:42 GMT"},
        {"version": "v2", "created": "Tue, 24 Jul 2007 20:10:27 GMT"},
    ],
    "update_date": "2008-11-26",
    "authors_parsed": [["Lovelace", "Ada", ""], ["Babbage", "Charles", ""]],
}


def test_a_paper_of_arxivs_snapshot_becomes_a_page_with_all_that_is_known_of_it() -> None:
    mapping = MappingSettings(preset="arxiv").mapping
    page = page_of(PAPER, mapping)
    assert page.key == "arxiv:hep-th/9901001"
    assert (page.title, page.text) == ("On engines that weave", "We show that an engine weaves.\n\nIt is fast.")
    assert (page.url, page.timestamp, page.language) == ("https://arxiv.org/abs/hep-th/9901001", "2008-11-26", "en")
    assert page.categories == ("hep-th", "cs.PL")
    assert json.loads(page.metadata) == {
        "authors": "Ada Lovelace and Charles Babbage",
        "doi": "10.1000/xyz",
        "journal_ref": "Phys.Rev.X99:1,1999",
        "comments": "3 pages, no figures",
        "submitter": "Ada L.",
        "report_no": "AE-1",
        "license": "http://example.org/license",
        "submitted": "2007-04-02T19:18:42Z",
        "revised": "2007-07-24T20:10:27Z",
        "versions": 2,
        "pdf_url": "https://arxiv.org/pdf/hep-th/9901001",
    }


@pytest.mark.parametrize("versions", [5, ["v1"], [{"created": "no day"}], [{"created": None}], [{}], {"created": 1}])
def test_versions_of_another_shape_are_noted_and_cost_nothing_else(versions: object) -> None:
    mapping = FieldMapping("arxiv", reshaping=ARXIV)
    assert noted(PAPER | {"versions": versions}, mapping) == ["versions"]
    assert noted({"id": "1", "abstract": "x"}, mapping) == []


def test_a_preset_names_the_corpus_unless_the_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MappingSettings().wiki == "docs"
    assert MappingSettings(preset="arxiv", wiki="papers").wiki == "papers"
    monkeypatch.setenv("CIRROSTREAM_PRESET", "arxiv")
    assert MappingSettings().wiki == "arxiv"


@pytest.mark.parametrize("wrong", [{"wiki": "My docs"}, {"text_fields": "a,,b"}, {"id_field": ""}, {"preset": "x"}])
def test_a_wrong_setting_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MappingSettings(**wrong)  # type: ignore[arg-type]
