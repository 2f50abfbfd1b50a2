"""Wikitext becomes one line of prose."""

from __future__ import annotations

import pytest

from producers.wikimedia.links import LinkNames
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


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        ("Write <nowiki>[[Port]]</nowiki>, sign with <nowiki>~~~~</nowiki>.", "Write [[Port]], sign with ~~~~."),
        ("That isn<nowiki>'</nowiki>t <NOWIKI>'''hard'''</NOWIKI>.", "That isn't '''hard'''."),
        (
            "Ships<nowiki/>man: <nowiki>{{a|b}} __TOC__ -{zh:a}- &amp; <b></nowiki>",
            "Shipsman: {{a|b}} __TOC__ -{zh:a}- & <b>",
        ),
        (
            'Type <syntaxhighlight lang="bash">orchard --install pear</syntaxhighlight> and wait.',
            "Type orchard --install pear and wait.",
        ),
        (
            "<source lang=sql>SELECT fruit FROM tree WHERE a[[1]] = 'x'</source>",
            "SELECT fruit FROM tree WHERE a[[1]] = 'x'",
        ),
        (
            "<syntaxhighlight>\nfor tree in orchard:\n    tree.prune()\n</syntaxhighlight>",
            "for tree in orchard: tree.prune()",
        ),
        ("<pre>a [[b]]\n c ( ) ;</pre>", "a [[b]] c ( ) ;"),
        ("The <code>orchard --list</code> ends.", "The orchard --list ends."),
        ("Typed as &#91;&#91;Port&#93;&#93; or &lt;b&gt;.", "Typed as [[Port]] or <b>."),
        ("It&apos;s &check; done, R&D; too.", "It's ✓ done, R&D; too."),
        ("L''''amour''' is '''''strong'''''.", "L'amour is strong."),
        ("''{{flagicon|x}}'' (UK)", "(UK)"),
    ],
)
def test_what_a_reader_sees_as_it_is_written_is_kept_as_it_is_written(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        (
            "[[voy:Harbour|The guide]], [[rfc:2119|RFC 2119]] and [[doi:10.1000/182|a book]].",
            "The guide, RFC 2119 and a book.",
        ),
        (
            "[[mw:Help:Links|Help]] and [[wikt:port|an old word]], [[doi:10.1000/182]].",
            "Help and an old word, doi:10.1000/182.",
        ),
        (
            "[[:Category:Ships]], [[:Category:Wrecks|the wrecks]], [[:File:Plan.png|the plan]].",
            "Category:Ships, the wrecks, the plan.",
        ),
        ("[[Media:Song.ogg|A song]]. [[:fr:Port|Le port]].[[fr:Port]]\n[[de:Hafen]]", "A song. Le port."),
        ("Ports.[[ Category : Ports ]][[category:Officials|Harbour]]", "Ports."),
        ("[[Ports|: the ports]]", ": the ports"),
        ("[[Archivo:Plano.png|thumb|Un plano]]Palabras.", "Palabras."),
    ],
)
def test_links_show_their_words_wherever_they_lead(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


def test_a_link_to_a_category_puts_the_page_into_none() -> None:
    article = read_article(
        "[[:Category:Ships]] [[ Category : Ports ]] [[category:Old_masters#x|Harbour]] [[:File:Plan.png]]"
    )
    assert article.categories == ["Ports", "Old masters"]
    assert article.links == ["Category:Ships", "File:Plan.png"]


def test_a_wikis_own_names_make_pictures_and_categories() -> None:
    names = LinkNames.of([(6, "Datei"), (6, "Bild"), (14, "Kategorie")])
    wikitext = "Der Hafen.[[Datei:Karte|mini|Eine Karte]][[bild:Kai|mini|Ein Kai]][[Kategorie:Orte]]"
    article = read_article(wikitext, names)
    assert (article.text, article.categories) == ("Der Hafen.", ["Orte"])


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        ("-{zh-cn:信息;zh-tw:資訊}-处理", "信息处理"),
        ("-{zh-hans:[[信息]]; zh-hant:[[資訊]];}-处理", "信息处理"),
        ("-{zh-cn:a-{zh-cn:b;zh-tw:c}-;zh-tw:d}-", "ab"),
        ("-{A|zh-cn:信息;zh-tw:資訊}-", "信息"),
        ("-{H|zh-cn:信息;zh-tw:資訊}-后", "后"),
        ("-{T|zh-cn:题;zh-tw:題}-后", "后"),
        ("-{R|原文}-后", "原文后"),
        ("-{zh-hans;zh-hant|原文}-", "原文"),
        ("-{K=>zh-cn:信;}-", "信"),
        ("-{原文: a; b}-", "原文: a; b"),
        ("-{sr-ec:Лука; sr-el:Luka}-", "Лука"),
        ("x -{ y", "x -{ y"),
    ],
)
def test_of_variants_of_a_language_one_is_shown(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        *((f"{switch}Words.", "Words.") for switch in ("__NOTOC__", "__KEIN_INHALTSVERZEICHNIS__", "__БЕЗ_ОГЛ__")),
        *(
            (f"{switch}Words.", "Words.")
            for switch in ("__目次非表示__", "＿＿目次＿＿", "__لافهرس__", "__विषयसूचीनहीं__", "__notoc__")
        ),
        ("def __init__(self) and __TOC1__", "def __init__(self) and __TOC1__"),
        ("____ and __ x __", "____ and __ x __"),
    ],
)
def test_switches_in_every_script_go_and_names_with_underscores_stay(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


@pytest.mark.parametrize(
    ("wikitext", "shown"),
    [
        ("A {{{1|port}}} and {{{2}}}.", "A port and."),
        ("<div>A port.", "A port."),
        ("A port.</div> a < b > c <unknown", "A port. a < b > c <unknown"),
        ("A port.<!-- never closed", "A port."),
        ("Words.\n{| class=x\n|-\n! head\n| cell\nMore words.", "Words. More words."),
        ('Words.<mapframe>{"a": [1]}</mapframe><includeonly>hidden</includeonly>', "Words."),
        ("<span style='display: none'>7</span>Seven.", "Seven."),
        ("Sets {| a |} x", "Sets {| a |} x"),
    ],
)
def test_markup_without_its_end_and_what_a_page_hides_are_not_in_the_text(wikitext: str, shown: str) -> None:
    assert text_of(wikitext) == shown


@pytest.mark.parametrize(
    ("wikitext", "left"),
    [
        ("Words [[Port|a port]] {{cite}} <nowiki>[[a]] {{b}} <x> == y ==</nowiki> a = b | c.", ()),
        ("{{Infobox\n| name = x\nWords.", ("parameter_left", "template_left")),
        ("[[Port", ("link_left",)),
        ("Words == A == more", ("heading_left",)),
        ("a <foo> b &foo; -{ c __name__", ("entity_left", "switch_left", "tag_left", "variant_left")),
        ("Words.<ref>[[open</ref>", ("link_left",)),
    ],
)
def test_markup_that_nobody_understood_is_named(wikitext: str, left: tuple[str, ...]) -> None:
    assert read_article(wikitext).left == left
