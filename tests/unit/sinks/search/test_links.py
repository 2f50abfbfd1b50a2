"""Links to passages: both ends stand in the text as a reader sees it, and the address says nothing else."""

from __future__ import annotations

import doctest
import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.search import links
from sinks.search.links import passage_link

PAGE = "https://en.wikipedia.org/wiki/Snow"
LONG = (
    "The glacier (in the north, 3,200 m high) moves about forty metres a year. Its ice, as the survey of 1998 showed, "
    "is older than the valley. Near the lake stands a hut; it was built by the well-known guides of the village"
)


def terms(link: str) -> list[str]:
    """As a browser reads them: parts between commas, then each decoded."""
    assert "#" in link
    directive = urlsplit(link).fragment.partition(":~:")[2]
    assert directive.startswith("text=")
    assert not set(directive[5:]) & set("-& #")
    return [unquote(term) for term in directive[5:].split(",")]


def test_the_documented_example_holds() -> None:
    assert doctest.testmod(links).failed == 0


def test_a_passage_is_named_by_its_first_and_last_words_from_inside_a_sentence() -> None:
    assert terms(passage_link(PAGE, LONG)) == ["moves about forty metres a", "well-known guides of the village"]


def test_a_short_passage_is_named_whole() -> None:
    assert terms(passage_link(PAGE, "Snow falls in winter.")) == ["Snow falls in winter"]
    assert terms(passage_link(PAGE, "Snow!")) == ["Snow"]


def test_characters_with_a_meaning_in_a_fragment_are_encoded() -> None:
    assert passage_link(PAGE, "a well-known 100 year-old tree").endswith(
        "#:~:text=a%20well%2Dknown%20100%20year%2Dold%20tree"
    )
    link = passage_link(PAGE, "rock & roll, 50% of all=ways; the very last words here")
    assert terms(link) == ["the very last words here"]


@pytest.mark.parametrize(
    ("url", "begin"),
    [
        (PAGE, f"{PAGE}#:~:text="),
        (f"{PAGE}#History", f"{PAGE}#History:~:text="),
        (f"{PAGE}#History:~:text=old&text=x", f"{PAGE}#History:~:text=Snow"),
        (f"{PAGE}?a=b&c=d#", f"{PAGE}?a=b&c=d#:~:text="),
    ],
)
def test_what_the_address_has_already_stays(url: str, begin: str) -> None:
    assert passage_link(url, "Snow falls in winter.").startswith(begin)


@pytest.mark.parametrize("text", ["", "  \n", "…!? — ()", "\x00\x07", "\ud800", "___"])
def test_a_text_without_words_leaves_the_address_as_it_is(text: str) -> None:
    assert passage_link(PAGE, text) == PAGE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "//x",
        "https://",
        "https:///x",
        "http://a b",
        "https://x/\x1b[2J",
        'https://x/"><script>',
        " https://x",
        "https://x\n",
    ],
)
def test_only_web_addresses_become_links(url: str) -> None:
    assert passage_link(url, "Snow falls in winter.") == ""


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (
            "雪是由冰晶组成的降水形式。它在冬天落下，覆盖地面。山上的积雪可以保留到夏天结束。",
            ("雪是由冰晶组成的降水形式", "山上的积雪可以保留到夏天结束"),
        ),
        ("हिम जल का ठोस रूप है। यह पर्वतों पर गिरता है।", ("हिम जल का ठोस रूप", "यह पर्वतों पर गिरता है")),
        (
            "الثلج هو بلورات من الجليد، ويسقط في الشتاء على الجبال.",
            ("الثلج هو بلورات من الجليد", "ويسقط في الشتاء على الجبال"),
        ),
    ],
)
def test_other_scripts_are_cut_at_their_own_stops(text: str, ends: tuple[str, str]) -> None:
    assert tuple(terms(passage_link(PAGE, text))) == ends


def test_a_long_passage_is_looked_at_at_its_ends_alone_and_no_word_is_divided() -> None:
    words = [f"word{n}" for n in range(5_000)]
    assert terms(passage_link(PAGE, " ".join(words))) == [" ".join(words[:5]), " ".join(words[-5:])]
    assert passage_link(PAGE, "雪" * 5_000) == PAGE


@given(st.text(max_size=1_500))
def test_every_end_stands_in_the_text_between_words(text: str) -> None:
    link = passage_link(PAGE, text)
    assert len(link) < 6_000
    assert link.isascii()
    if link != PAGE:
        seen = re.sub(r"\s+", " ", text)
        for term in terms(link):
            assert term in seen
