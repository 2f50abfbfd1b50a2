"""An export is cut at its pages, however others write the tags, and found again after any damage."""

from __future__ import annotations

import codecs
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.bytes.lines import Position
from producers.bytes.xml import EndMissing, HeadUnreadable, PageBytes, read_head, read_pages

HEAD = '<mediawiki xml:lang="de">\n  <siteinfo>\n    <dbname>dewiki</dbname>\n  </siteinfo>\n'
END = "</mediawiki>\n"
ENTITIES = '<!DOCTYPE mediawiki [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'

TAGS = [
    ("<page>", "</page>"),
    ("<page >", "</page >"),
    ('<page xml:space="preserve">', "</page\n>"),
    ("<page\n  id='7'\tlang=\"de\">", "</page>"),
    ('<page note="one > none">', "</page>"),
]
"""As tools write them: the first as MediaWiki does."""


def page(number: int, tags: tuple[str, str] = TAGS[0]) -> str:
    text = f"<title>Seite {number}</title><text>Ä€😀 &lt;page&gt; <pages/> {number}</text>"
    return f"  {tags[0]}{text}{tags[1]}\n"


BODY = (HEAD + "".join(page(n) for n in range(4)) + "  " + END).encode()
ODD_BODY = (HEAD + "".join(page(n, tags) for n, tags in enumerate(TAGS)) + "</mediawiki >\n").encode()


@pytest.mark.parametrize("body", [BODY, ODD_BODY])
@given(st.lists(st.integers(0, len(ODD_BODY)), max_size=12), st.integers(0, 5))
def test_any_split_into_blocks_gives_the_same_pages_from_any_page_on(body: bytes, cuts: list[int], start: int) -> None:
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    blocks = [body[a:b] for a, b in pairwise(places)]
    whole = list(read_pages([body]))
    start = min(start, len(whole))
    assert [p.malformed for p in whole] == [""] * (4 if body == BODY else len(TAGS))
    position = whole[start - 1].after if start else Position()
    assert list(read_pages(blocks, position)) == whole[start:]


@given(st.lists(st.integers(0, len(ODD_BODY)), max_size=4))
def test_pages_whose_tags_have_attributes_and_blanks_are_pages(cuts: list[int]) -> None:
    blocks = [ODD_BODY[a:b] for a, b in pairwise(sorted({0, *cuts, len(ODD_BODY)}))]
    found = [p.data for p in read_pages(blocks)]
    assert [data is not None and f"<title>Seite {n}</title>".encode() in data for n, data in enumerate(found)] == [
        True
    ] * len(TAGS)
    assert read_head(blocks).findtext("siteinfo/dbname") == "dewiki"


@given(st.integers(len(HEAD), len(BODY) - 1), st.binary(min_size=0, max_size=8))
def test_garbled_bytes_lose_at_most_the_pages_that_they_touch(place: int, noise: bytes) -> None:
    whole = {p.data for p in read_pages([BODY])}
    garbled = BODY[:place] + noise + BODY[place + len(noise) :]
    found: list[PageBytes] = []
    try:
        found.extend(read_pages([garbled]))
    except EndMissing:
        assert place + len(noise) > BODY.index(b"</mediawiki>")
    assert len(whole & {p.data for p in found}) >= 2
    assert [p.after.line for p in found] == list(range(1, len(found) + 1))


def test_a_page_without_end_takes_no_more_memory_than_the_bound() -> None:
    def endless() -> Iterator[bytes]:
        yield HEAD.encode() + b"<page>"
        yield from [b"x" * 1_000_000] * 30
        yield b"</page>" + page(1).encode() + END.encode()

    tracemalloc.start()
    try:
        long, good = read_pages(endless(), max_bytes=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert (long.data, long.malformed) == (None, "page_too_long")
    assert good.data is not None


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "us-ascii", ""])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_head_in_utf_8_is_read_with_and_without_a_byte_order_mark(encoding: str, mark: bytes) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding}"?>\n' if encoding else ""
    root = read_head([mark + (declared + HEAD + page(1) + END).encode()])
    assert root.findtext("siteinfo/dbname") == "dewiki"


@pytest.mark.parametrize(
    "content",
    [
        (ENTITIES + HEAD + END).encode(),
        b"<!doctype html><mediawiki>",
        ("<?xml version='1.0' encoding='utf-16'?>" + ENTITIES + HEAD).encode("utf-16") + END.encode(),
        (ENTITIES + HEAD).encode("utf-16-be") + END.encode(),
        b"<?xml version='1.0' encoding='cp037'?>" + (ENTITIES + HEAD).encode("cp037") + END.encode(),
        b"<?xml version='1.0'\nencoding = 'latin-1' ?>" + (ENTITIES + HEAD).encode("latin-1") + END.encode(),
    ],
)
def test_no_document_type_passes_in_any_encoding(content: bytes) -> None:
    with pytest.raises(HeadUnreadable):
        read_head([content])


def test_a_head_in_utf_16_is_parsed_no_further_than_its_document_type() -> None:
    """Its bytes are not those of `<!DOCTYPE`, and its entities would be expanded."""
    content = (ENTITIES + "<mediawiki><siteinfo><dbname>&b;</dbname><!--").encode("utf-16") + b"</siteinfo>"
    with pytest.raises(HeadUnreadable, match="it has a document type"):
        read_head([content])


def test_a_head_in_another_encoding_says_what_to_type() -> None:
    content = f'<?xml version="1.0" encoding="ISO-8859-1"?>{HEAD}{page(1)}{END}'.encode("latin-1", "replace")
    with pytest.raises(HeadUnreadable, match=r"ISO-8859-1.*`iconv -f ISO-8859-1 -t UTF-8 FILE"):
        read_head([content])
