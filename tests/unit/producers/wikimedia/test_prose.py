"""Wikitext becomes one line of prose."""

from __future__ import annotations

import pytest

from producers.wikimedia.prose import read_article


def text_of(wikitext: str) -> str:
    return read_article(wikitext).text


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        ("'''Bold''' and ''italic'', [[Target|a link]] and [[another]].", "Bold and italic, a link and another."),
        ("A river {{convert|50|km|mi}} long.", "A river 50 km long."),
        ("Born {{circa|384}} in {{lang|el|Στάγειρα}}.", "Born c. 384 in Στάγειρα."),
        ("From 1775{{ndash}}1783.", "From 1775–1783."),
        ("Ada ({{IPAc-en|eɪ|d}}; born 1815) wrote.", "Ada (born 1815) wrote."),
        ("Ada ({{IPAc-en|eɪ|d}}) wrote.", "Ada wrote."),
        ("Asphalt (rarely {{IPAc-en|æ}}) is black.", "Asphalt (rarely) is black."),
        ("H{{chem|H|2|O}} and {{frac|1|2}}.", "HH2O and 1/2."),
        ("Before.\n{|\n| cell\n|}\nAfter.", "Before. After."),
        ("Before.<gallery>File:A.jpg|words</gallery> After.", "Before. After."),
        ("[[File:Map.png|thumb|A map of [[Rome]]]]Words.", "Words."),
        ("[[Category:Rivers]]Words.[[de:Fluss]]", "Words."),
        ("* one\n* two<br>three &amp; four", "one two three & four"),
        ("<!-- hidden -->Shown [https://example.org here].", "Shown here."),
        ("{{Infobox|name=x|{{convert|1|km}}}}Words.", "Words."),
        ("", ""),
    ],
)
def test_markup_is_gone_and_the_words_are_there(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


def test_references_stand_at_the_end_and_cut_no_sentence() -> None:
    article = read_article("One.<ref>A source.</ref> Two.<ref name=x/>\n\n== Later ==\nThree.")
    assert article.text == "One. Two. Later Three. A source."
    assert article.opening_text == "One. Two."


def test_the_opening_ends_at_the_first_heading() -> None:
    article = read_article("Opening.\n== ''First'' ==\nMore.\n=== Second ===\nEnd.")
    assert article.opening_text == "Opening."
    assert article.headings == ["First", "Second"]
    assert read_article("== At once ==\nMore.").opening_text == ""


def test_links_categories_and_templates_are_listed_once_each() -> None:
    article = read_article("[[A]] [[A|again]] [[B#part|b]] [[File:C.png]] [[Category:D|sort]] {{E}} {{E}}")
    assert article.links == ["A", "B"]
    assert article.categories == ["D"]
    assert article.templates == ["E"]
