"""Markdown files become pages: front matter has the fields, and nothing in it can cost more than itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.records import Page
from producers.account import Ledger
from producers.bytes.lines import Position
from producers.markdown import SOURCE, MarkdownReader, MarkdownSettings, check_place
from producers.run.progress import PagesTopic, begin, recorded
from producers.run.shards import Shard, find_shards
from tests.reading import Counted, shard_of

NOTE = """---
title: The old weir
tags: [weirs, river]
date: 2024-05-01
author: Ada
draft: false
---

# Weir

The weir was built of oak.
"""


def read(path: Path, content: str | bytes, **chosen: object) -> tuple[list[Page], Ledger]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    root = path.parents[1]
    settings = MarkdownSettings(**{"root": root, **chosen})  # type: ignore[arg-type]
    reader = Counted(MarkdownReader(shard_of(path), settings))
    return reader.pages(), reader.ledger


def test_front_matter_gives_the_fields_and_the_files_place_the_id(tmp_path: Path) -> None:
    (page,), ledger = read(tmp_path / "river" / "old weir.md", NOTE)
    assert (page.key, page.title, page.timestamp) == ("docs:river/old weir.md", "The old weir", "2024-05-01")
    assert (page.categories, page.metadata) == (("weirs", "river"), '{"author":"Ada","draft":false}')
    assert page.text == "# Weir\n\nThe weir was built of oak."
    assert ledger == Ledger(lines=1, read=1, produced=1)


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("Some text.\n\n## A heading ##\n\nMore.", "A heading", "Some text.\n\n## A heading ##\n\nMore."),
        ("Some text.", "note", "Some text."),
        ("\ufeff---\ntitle: With a mark\n---\nText.", "With a mark", "Text."),
        ("---\ntitle:\n---\n# C#\n\nText.", "C#", "# C#\n\nText."),
        ('---\ntitle: "Frogs \\ud83d\\udc38"\n---\nText.', "Frogs \U0001f438", "Text."),
        ("---\r\ntitle: Lines of Windows\r\n---\r\nText.", "Lines of Windows", "Text."),
    ],
)
def test_a_title_is_the_front_matters_the_first_headings_or_the_files(
    tmp_path: Path, content: str, title: str, text: str
) -> None:
    (page,), _ = read(tmp_path / "a" / "note.md", content)
    assert (page.title, page.text) == (title, text)


@pytest.mark.parametrize(
    "content",
    [
        "Before.\n\n---\n\nBetween: rules\n\n---\n\nBehind.",
        "Weir\n----\n\nOak: old\n\nFrogs\n-----\n\nMany.",
        "---\n\nThey begin with a rule.\n\n---\n\nBehind.",
        "---\n- a list\n---\nText.",
    ],
)
def test_rules_and_underlined_headings_cost_no_text(tmp_path: Path, content: str) -> None:
    (page,), _ = read(tmp_path / "a" / "note.md", content)
    assert (page.text, page.metadata) == (content, "")


def test_a_title_may_be_within_a_field_or_none_at_all(tmp_path: Path) -> None:
    content = "---\nbook: {name: Weirs, year: 1900}\n---\n# Heading\n\nText."
    (within,), _ = read(tmp_path / "a" / "n.md", content, title_field="book.name")
    assert (within.title, within.metadata) == ("Weirs", '{"book":{"year":1900}}')
    (none,), _ = read(tmp_path / "a" / "n.md", content, title_field="")
    assert (none.title, none.metadata) == ("", '{"book":{"name":"Weirs","year":1900}}')


def test_an_id_may_be_a_field(tmp_path: Path) -> None:
    (page,), _ = read(tmp_path / "a" / "n.md", "---\nslug: weir-1\nplace: Upper end\n---\nText.", id_field="slug")
    assert (page.page_id, page.metadata) == ("weir-1", '{"place":"Upper end"}')


@pytest.mark.parametrize(
    "front_matter",
    [
        "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b]",
        "title: [not closed",
        "when: 2024-99-99",
        "x: !!python/object/apply:os.system ['true']",
        "[" * 5_000,
        "draft: !!bool maybe",
        "when: !!timestamp soon",
        "n: !!int ''",
        'title: "half a pair \\ud83d"',
        '"a name \\ud83d": x',
        "a: [" + "x, " * 30_000 + "x]",
    ],
)
def test_front_matter_that_cannot_be_read_costs_itself(tmp_path: Path, front_matter: str) -> None:
    (page,), ledger = read(tmp_path / "a" / "note.md", f"---\n{front_matter}\n---\nThe text.")
    assert "The text." in page.text
    assert ledger.mended == {"front_matter": 1}


@pytest.mark.parametrize("line", ["# a" + " " * 50_000 + "x", "# a" + "#" * 50_000 + "x y", "# " + " " * 50_000 + "x"])
def test_a_long_heading_is_read_at_once(tmp_path: Path, line: str) -> None:
    """Tried character by character, to its end each time, one of these took minutes."""
    (page,), _ = read(tmp_path / "a" / "note.md", line)
    assert page.title


def test_a_file_without_text_a_large_one_and_one_that_is_no_text_are_counted(tmp_path: Path) -> None:
    assert read(tmp_path / "a" / "empty.md", "---\ntitle: Nothing\n---\n")[1].dropped == {"empty": 1}
    assert read(tmp_path / "a" / "large.md", b"x" * (16 * 1024 * 1024 + 1))[1].dropped == {"file_too_large": 1}
    (page,), ledger = read(tmp_path / "a" / "cut.md", b"Caf\xc3\xa9 at the r\xc3")
    assert (page.text, ledger.mended) == ("Café at the r\ufffd", {"text_encoding": 1})


def test_reading_goes_on_behind_the_one_entry(tmp_path: Path) -> None:
    read(tmp_path / "a" / "note.md", NOTE)
    reader = MarkdownReader(shard_of(tmp_path / "a" / "note.md"), MarkdownSettings(root=tmp_path))
    assert list(reader.read(Position(1, len(NOTE)), lambda: None)) == []


def test_a_file_outside_of_the_folder_that_ids_are_made_from_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    path.write_text(NOTE)
    with pytest.raises(UsageError, match="--root"):
        check_place(shard_of(path), MarkdownSettings(root=tmp_path / "notes"))


def shards(folder: Path, root: Path) -> list[Shard]:
    return find_shards([str(folder)], SOURCE.names_for(MarkdownSettings(root=root)))


def test_files_that_say_the_same_in_two_places_are_two_pages(tmp_path: Path) -> None:
    for name in ("river/index.md", "pond/index.md", "index.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(NOTE)
    assert [shard.name for shard in shards(tmp_path, tmp_path)] == ["index.md", "pond/index.md", "river/index.md"]


@pytest.mark.parametrize(("before", "now"), [("river/weir.md", "pond/weir.md"), ("river/weir.md", "weir.md")])
def test_a_file_that_was_moved_is_read_again_for_it_is_another_page(tmp_path: Path, before: str, now: str) -> None:
    (tmp_path / before).parent.mkdir()
    (tmp_path / before).write_text(NOTE)
    (old,) = shards(tmp_path, tmp_path)
    before_it = {old.key: begin(old, "run", "{}", PagesTopic("pages", {}))}
    (found,) = shards(tmp_path / "river", tmp_path)
    assert recorded(found, before_it) is not None, "named with another folder it is the same"
    (tmp_path / now).parent.mkdir(exist_ok=True)
    (tmp_path / before).rename(tmp_path / now)
    (moved,) = shards(tmp_path, tmp_path)
    assert recorded(moved, before_it) is None
