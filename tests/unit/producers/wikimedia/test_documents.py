"""A document becomes a page, or leaves under its reason; a bad field costs itself, not the page."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from pipeline.records import Page, decode, encode, text_hash
from pipeline.rejected import Rejected
from producers.bytes.bulk import read_entries
from producers.bytes.lines import Line, Position, repair_text
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.settings import DocumentRules
from tests.dumps import document, dumped

SNAPSHOT = ("enwiki", "20261115")
ACTION = "12"


class Read(NamedTuple):
    """A page, and what was noted of its document."""

    page: Page
    notes: list[str]


def read_by(reader: DocumentReader, action: str | None, data: bytes) -> Read | Rejected:
    notes: list[str] = []
    page = reader.read(action or "", data, notes, lost_action=action is None)
    return page if isinstance(page, Rejected) else Read(page, notes)


def read(
    data: bytes | dict[str, Any], action: str | None = ACTION, namespaces: tuple[int, ...] = (0,)
) -> Read | Rejected:
    reader = DocumentReader(*SNAPSHOT, DocumentRules(namespaces=frozenset(namespaces)))
    return read_by(reader, action, data if isinstance(data, bytes) else dumped(data))


def page_of(data: bytes | dict[str, Any], **how: Any) -> Page:
    found = read(data, **how)
    assert isinstance(found, Read), found
    return found.page


def test_every_field_of_a_page_comes_from_the_document() -> None:
    page = page_of(
        document(
            12,
            title="Été à Paris?",
            text="A summer.",
            opening_text="A",
            version=716551092,
            category=["Seasons", "Paris"],
            redirect=[{"namespace": 0, "title": "Paris summer"}, {"namespace": 4, "title": "Project page"}],
            incoming_links=18,
            popularity_score=0.25,
            wikibase_item="Q42",
        )
    )
    assert page == Page(
        wiki="enwiki",
        page_id="12",
        revision=716551092,
        title="Été à Paris?",
        text="A summer.",
        opening_text="A",
        url="https://en.wikipedia.org/wiki/%C3%89t%C3%A9_%C3%A0_Paris%3F",
        timestamp="2026-11-01T00:00:00Z",
        categories=("Seasons", "Paris"),
        aliases=("Paris summer",),
        incoming_links=18,
        popularity_score=0.25,
        language="en",
        namespace=0,
        snapshot="20261115",
        text_hash=text_hash("Été à Paris?", "A summer."),
        metadata='{"wikibase_item":"Q42"}',
    )
    assert decode(encode(page), Page) == page


def test_a_page_needs_no_optional_field() -> None:
    page = page_of({"page_id": 12, "title": "T", "text": "x"})
    assert (page.wiki, page.language, page.revision, page.aliases, page.metadata) == ("enwiki", "en", None, (), "")


@pytest.mark.parametrize("field", ["opening_text", "version", "category", "redirect", "timestamp", "language", "wiki"])
def test_an_optional_field_that_is_null_is_absent(field: str) -> None:
    found = read(document(12, **{field: None}))
    assert isinstance(found, Read)
    assert found.notes == []


def test_the_legacy_layout_has_the_id_in_the_action_alone() -> None:
    assert page_of(document(12, "legacy"), action="12").key == "enwiki:12"
    assert read(document(12, "legacy"), action=None) == Rejected("lost_action", damaged=True)
    assert read(document(12, "legacy"), action="") == Rejected("missing_id")


def test_the_new_layout_survives_a_lost_action() -> None:
    found = read(document(12), action=None)
    assert isinstance(found, Read)
    assert (found.page.page_id, found.notes) == ("12", ["lost_action"])


def test_an_action_and_a_document_that_disagree_are_not_trusted() -> None:
    assert read(document(13), action="12") == Rejected("id_mismatch", damaged=True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_type": "redirect", "text": ""}, "redirect"),
        ({"namespace": 4}, "namespace"),
        ({"title": None}, "missing_title"),
        ({"title": "  "}, "missing_title"),
        ({"title": 5}, "bad_type"),
        ({"text": ""}, "empty"),
        ({"text": None}, "missing_text"),
        ({"text": " \n\t "}, "empty"),
        ({"text": ["x"]}, "bad_type"),
    ],
)
def test_a_document_that_is_no_page_leaves_under_its_reason(fields: dict[str, object], reason: str) -> None:
    assert read(document(12, **fields)) == Rejected(reason)


@pytest.mark.parametrize("action", ["", "-3", "a\x00b", "x" * 300])
def test_an_id_that_cannot_stand_in_a_key_is_dropped(action: str) -> None:
    found = read(document(12, "legacy"), action=action)
    assert found in (Rejected("bad_type"), Rejected("missing_id"))


@pytest.mark.parametrize(
    ("field", "bad", "page_field", "kept"),
    [
        ("version", "not a number", "revision", None),
        ("version", 2**70, "revision", None),
        ("version", -1, "revision", None),
        ("category", "just one", "categories", ()),
        ("category", ["good", 5], "categories", ()),
        ("redirect", "none", "aliases", ()),
        ("redirect", [{"title": "A"}, {"title": 5}], "aliases", ("A",)),
        ("popularity_score", "high", "popularity_score", None),
        ("incoming_links", 1.5, "incoming_links", None),
        ("opening_text", {"a": 1}, "opening_text", ""),
        ("language", 5, "language", "en"),
        ("timestamp", 1_700_000_000, "timestamp", ""),
        ("wiki", "no/such wiki", "wiki", "enwiki"),
        ("wiki", 5, "wiki", "enwiki"),
        ("page_id", [12], "page_id", "12"),
        ("wikibase_item", 42, "metadata", ""),
        ("namespace_text", 7, "title", "Page 12"),
    ],
)
def test_a_bad_optional_field_costs_only_itself(field: str, bad: object, page_field: str, kept: object) -> None:
    found = read(document(12) | {field: bad})
    assert isinstance(found, Read)
    assert getattr(found.page, page_field) == kept
    assert found.notes == [field]
    assert found.page.text == document(12)["text"]
    assert decode(encode(found.page), Page) == found.page


@pytest.mark.parametrize(
    ("field", "written", "page_field", "value"),
    [
        ("page_id", 12.0, "page_id", "12"),
        ("namespace", "0", "namespace", 0),
        ("namespace", 0.0, "namespace", 0),
        ("version", "7", "revision", 7),
        ("version", 7.0, "revision", 7),
        ("incoming_links", "3", "incoming_links", 3),
        ("popularity_score", "0.25", "popularity_score", 0.25),
        ("redirect", [{"title": "A", "namespace": "0"}, {"title": "B", "namespace": "4"}], "aliases", ("A",)),
        (
            "category",
            [{"name": "Weirs"}, {"name": "Category:Mills", "url": "x"}, "Rivers"],
            "categories",
            ("Weirs", "Mills", "Rivers"),
        ),
    ],
)
def test_numbers_as_text_whole_numbers_with_a_point_and_categories_as_objects_are_read(
    field: str, written: object, page_field: str, value: object
) -> None:
    found = read(document(12) | {field: written})
    assert isinstance(found, Read)
    assert (getattr(found.page, page_field), found.notes) == (value, [])


def test_an_action_names_a_whole_number_with_a_point_too() -> None:
    lines = [b'{"index": {"_id": 12.0}}', dumped(document(12, "legacy"))]
    (entry,) = read_entries(Line(line, Position(number, number)) for number, line in enumerate(lines, 1))
    assert entry.action is not None
    assert entry.action.page_id == "12"


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize(
    ("field", "notes"), [("popularity_score", ["popularity_score"]), ("extra", []), ("category", ["category"])]
)
def test_what_python_writes_for_no_number_costs_its_field(word: bytes, field: str, notes: list[str]) -> None:
    written = document(12) | {"text": 'Python says "NaN, Infinity" \\ here.', field: ["?"]}
    found = read(dumped(written).replace(b'["?"]', word))
    assert isinstance(found, Read)
    assert (found.page.text, found.notes) == ('Python says "NaN, Infinity" \\ here.', notes)


def test_no_number_for_a_title_and_broken_text_beside_one_are_told() -> None:
    assert read(dumped(document(12, title="?")).replace(b'"?"', b"NaN")) == Rejected("bad_type")
    found = read(
        dumped(document(12) | {"popularity_score": "?", "opening_text": "!"})
        .replace(b'"?"', b"NaN")
        .replace(b"!", b"\xff")
    )
    assert isinstance(found, Read)
    assert (found.page.opening_text, found.notes) == ("\ufffd", ["text_encoding", "popularity_score"])


def test_the_good_redirects_of_a_list_stay_when_one_is_bad() -> None:
    found = read(document(12, redirect=[{"title": "A", "namespace": 0}, {"title": 5}, {"title": "B"}, "C"]))
    assert isinstance(found, Read)
    assert found.page.aliases == ("A", "B")


def test_a_number_beyond_a_double_is_left_out() -> None:
    data = dumped(document(12)).replace(b'"page_type"', b'"popularity_score": 1e999, "page_type"')
    found = read(data)
    assert isinstance(found, Read)
    assert (found.page.popularity_score, found.notes) == (None, ["popularity_score"])


@pytest.mark.parametrize(
    "data", [b"", b"{", b"garbage", b'{"title": "x"} trailing', b"\x00\xff\xfe", b'{"a":' + b"[" * 100_000]
)
def test_what_is_not_json_is_malformed(data: bytes) -> None:
    assert read(data) == Rejected("not_json", damaged=True)


@pytest.mark.parametrize("data", [b"[]", b"5", b'"text"', b"null"])
def test_what_is_json_and_no_object_is_malformed(data: bytes) -> None:
    assert read(data) == Rejected("not_an_object", damaged=True)


@pytest.mark.parametrize("field", ["text", "source_text"])
@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\ud800"])
def test_half_a_surrogate_pair_is_replaced_and_the_page_kept(field: str, escape: bytes) -> None:
    data = json.dumps(document(12, **{field: "left MARK right \U0001f600"})).encode().replace(b"MARK", escape)
    found = read(data)
    assert isinstance(found, Read)
    assert "text_encoding" in found.notes
    if field == "text":
        assert found.page.text.replace("�", "") == "left  right \U0001f600"
    encode(found.page)


def test_a_bad_byte_in_the_text_is_replaced_and_the_page_kept() -> None:
    found = read(dumped(document(12, text="left MARK right")).replace(b"MARK", b"\xff"))
    assert isinstance(found, Read)
    assert found.page.text == "left � right"


def test_repairing_leaves_good_escapes_alone() -> None:
    assert repair_text(rb'{"text": "\\ud800 \" \ud83d\ude00 \u00e9"}') is None
    assert repair_text(rb'{"text": "\\\ud800"}') == rb'{"text": "\\\ufffd"}'


def test_a_surrogate_and_a_bad_field_together_still_make_a_page() -> None:
    data = json.dumps(document(12, version="x", text="MARK")).encode().replace(b"MARK", rb"a\udfff")
    found = read(data)
    assert isinstance(found, Read)
    assert found.page.text == "a�"
    assert sorted(found.notes) == ["text_encoding", "version"]


def test_a_page_of_another_namespace_has_its_full_title() -> None:
    page = page_of(document(12, namespace=1, namespace_text="Talk", title="Amber & co"), namespaces=(0, 1))
    assert (page.title, page.namespace) == ("Talk:Amber & co", 1)
    assert page.url == "https://en.wikipedia.org/wiki/Talk:Amber_%26_co"


def test_a_file_that_says_no_wiki_needs_documents_that_do() -> None:
    reader = DocumentReader("", "", DocumentRules())
    assert read_by(reader, None, dumped(document(12, wiki=None))) == Rejected("missing_wiki")
    assert isinstance(read_by(reader, None, dumped(document(12))), Read)


def test_a_page_of_5_mb_is_a_page() -> None:
    text = "Größe ☃ " * 500_000
    assert page_of(document(12, text=text, source_text=text)).text == text


def dropped(rules: DocumentRules, **fields: object) -> str:
    """The reason that these rules leave this document out for; empty when they keep it."""
    read = read_by(DocumentReader(*SNAPSHOT, rules), "7", dumped(document(7, **fields)))
    return read.reason if isinstance(read, Rejected) else ""


@pytest.mark.parametrize(
    ("rules", "fields", "reason"),
    [
        (DocumentRules(), {"content_model": "wikitext"}, ""),
        (DocumentRules(), {"content_model": "json"}, "content_model"),
        (DocumentRules(disambiguation="skip"), {"category": ["All disambiguation pages"]}, "disambiguation"),
        (DocumentRules(disambiguation="skip"), {"category": ["Wikipedia:Begriffsklärung"]}, "disambiguation"),
        (DocumentRules(disambiguation="skip"), {"category": ["曖昧さ回避"]}, "disambiguation"),
        (DocumentRules(disambiguation="skip"), {"category": ["Articles with links needing disambiguation"]}, ""),
        (DocumentRules(), {"category": ["All disambiguation pages"]}, ""),
        (DocumentRules(categories=frozenset({"mammals"})), {"category": ["Mammals"]}, ""),
        (DocumentRules(categories=frozenset({"mammals"})), {"category": ["Birds"]}, "category"),
        (DocumentRules(categories=frozenset({"mammals"})), {"category": None}, "category"),
        (DocumentRules(min_popularity=0.5), {"popularity_score": 0.4}, "unpopular"),
        (DocumentRules(min_popularity=0.5), {"popularity_score": None}, "unpopular"),
        (DocumentRules(pages=frozenset({"7"})), {}, ""),
        (DocumentRules(pages=frozenset({"Amber"})), {"title": "Amber"}, ""),
        (DocumentRules(pages=frozenset({"8"})), {}, "not_listed"),
        (DocumentRules(redirects="alias"), {"page_type": "redirect"}, "redirect"),
        (DocumentRules(redirects="page"), {"page_type": "redirect", "namespace": 4}, "namespace"),
    ],
)
def test_what_the_rules_leave_out_is_counted_under_its_reason(
    rules: DocumentRules, fields: dict[str, object], reason: str
) -> None:
    assert dropped(rules, **fields) == reason


def test_a_redirect_as_a_page_of_its_own_says_its_title() -> None:
    old = document(7, page_type="redirect", title="Old name", text="", redirect=[])
    read = read_by(DocumentReader(*SNAPSHOT, DocumentRules(redirects="page")), "7", dumped(old))
    assert isinstance(read, Read)
    assert (read.page.title, read.page.text) == ("Old name", "Old name")


def test_aliases_are_left_out_where_redirects_are() -> None:
    page = dumped(document(7, redirect=[{"title": "Old name", "namespace": 0}]))
    for redirects, aliases in (("alias", ("Old name",)), ("page", ("Old name",)), ("skip", ())):
        reader = DocumentReader(*SNAPSHOT, DocumentRules(redirects=redirects))
        read = read_by(reader, "7", page)
        assert isinstance(read, Read)
        assert read.page.aliases == aliases
