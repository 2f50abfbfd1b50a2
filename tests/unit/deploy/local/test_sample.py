"""The sample: real text, out of a wheel, as dump shards."""

from __future__ import annotations

import bz2
import json
import random
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from deploy.local import sample
from deploy.local.extract import EXTRACT, MEMBER, RawPage, extract, read_pages
from deploy.local.sample import documents, write_sample
from pipeline.errors import Fatal, TryAgain

PAGE = """<page><title>{title}</title><ns>0</ns><id>{page_id}</id>{redirect}<revision><id>{revision}</id>
<timestamp>2016-04-22T10:19:33Z</timestamp><text>{text}</text></revision></page>"""


def raw(page_id: int, title: str, wikitext: str = "", redirect: str | None = None) -> RawPage:
    return RawPage(page_id, 0, title, page_id * 10, "2016-04-22T10:19:33Z", redirect, wikitext)


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for shard in sorted(folder.glob("*.json.bz2"))
        for line in bz2.decompress(shard.read_bytes()).split(b"\n")[:-1]
    ]


def test_it_has_106_articles_and_100_redirects_in_four_mixed_shards(tmp_path: Path, extract_folder: Path) -> None:
    folder = write_sample(tmp_path, extract_folder)
    assert folder == tmp_path / "cirrus_search_index" / "20160501" / "index_name=enwiki_content"
    assert (folder / "_SUCCESS").exists()
    shards = sorted(folder.glob("*.json.bz2"))
    assert [shard.name for shard in shards] == [f"enwiki_content-20160501-0000{n}.json.bz2" for n in range(4)]
    lines = lines_of(folder)
    actions, found = lines[::2], lines[1::2]
    assert [action["index"] for action in actions] == [{"_id": document["page_id"]} for document in found]
    assert Counter(document["page_type"] for document in found) == {"primary": 106, "redirect": 100}
    for document in found:
        assert "\n" not in str(document["text"])
        assert str(document["text"]).startswith(str(document.get("opening_text", "")))
        assert not [residue for residue in ("{{", "}}", "[[", "]]", "<ref", "'' ") if residue in str(document["text"])]
    for shard in shards:
        kinds = [json.loads(line).get("page_type") for line in bz2.decompress(shard.read_bytes()).splitlines()[1::2]]
        assert {"primary", "redirect"} == set(kinds)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_complete_sample_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "cirrus_search_index" / "20160501" / "index_name=enwiki_content"
    folder.mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    assert write_sample(tmp_path, tmp_path / "no downloads") == folder
    assert [path.name for path in folder.iterdir()] == ["_SUCCESS"]


def test_a_sample_that_was_interrupted_leaves_no_folder_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "extract", lambda _: b"<x/>")
    monkeypatch.setattr(sample, "documents", lambda _: [{"page_id": 1}])
    monkeypatch.setattr(sample.bz2, "compress", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path)
    assert not list(tmp_path.rglob("_SUCCESS"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_order_depends_on_the_pages_alone() -> None:
    pages = [raw(n, f"Page {n}", "Text.") for n in range(1, 30)]
    shuffled = random.Random(1).sample(pages, len(pages))
    assert documents(pages) == documents(shuffled)


def test_a_redirect_is_a_document_of_its_own_and_an_alias_of_its_target() -> None:
    found = {
        document["title"]: document
        for document in documents([raw(1, "Aikido", "Martial art."), raw(2, "AikidO", redirect="Aikido")])
    }
    assert found["Aikido"]["redirect"] == [{"namespace": 0, "title": "AikidO"}]
    assert found["AikidO"]["page_type"] == "redirect"
    assert found["AikidO"]["text"] == ""


def test_incoming_links_count_articles_once_also_through_redirects() -> None:
    found = documents(
        [
            raw(1, "Aikido", "[[Art]]"),
            raw(2, "Art", "Art."),
            raw(3, "ArtS", redirect="Art"),
            raw(4, "Alphabet", "[[art]] [[Art]] [[ArtS]]"),
        ]
    )
    assert {document["title"]: document.get("incoming_links") for document in found}["Art"] == 2


def test_pages_are_read_from_an_export() -> None:
    xml = f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
    {PAGE.format(title="A", page_id=7, redirect="", revision=70, text="Words.")}
    {PAGE.format(title="B", page_id=8, redirect='<redirect title="A" />', revision=80, text="#REDIRECT [[A]]")}
    </mediawiki>"""
    assert list(read_pages(xml.encode())) == [
        RawPage(7, 0, "A", 70, "2016-04-22T10:19:33Z", None, "Words."),
        RawPage(8, 0, "B", 80, "2016-04-22T10:19:33Z", "A", "#REDIRECT [[A]]"),
    ]


def test_xml_that_declares_entities_is_refused_before_it_is_parsed() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
    with pytest.raises(Fatal, match="DOCTYPE"):
        list(read_pages(bomb))


def test_a_wheel_with_another_file_in_it_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "gensim-4.4.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, bz2.compress(b"<mediawiki/>"))
    with pytest.raises(Fatal, match="is not the file"):
        extract(tmp_path)
    assert not (tmp_path / EXTRACT).exists()


def test_a_wheel_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "gensim-4.4.0-py3-none-any.whl").write_bytes(b"half a downl")
    with pytest.raises(Fatal, match=r"gensim-4\.4\.0-py3-none-any\.whl: no .* delete it"):
        extract(tmp_path)


def test_a_kept_extract_that_was_damaged_is_not_used(tmp_path: Path, no_registry: None) -> None:
    (tmp_path / EXTRACT).write_bytes(b"damaged")
    with pytest.raises(TryAgain):
        extract(tmp_path)


def test_without_a_registry_it_says_what_to_do_in_one_line(tmp_path: Path, no_registry: None) -> None:
    with pytest.raises(TryAgain) as refused:
        extract(tmp_path)
    assert "put its wheel into" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
