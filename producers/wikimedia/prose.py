"""Wikitext as the prose that a CirrusSearch dump has in `text`: one line, without tables, infoboxes and markup.

mwparserfromhell's own `strip_code` drops every template, so that "{{convert|50|km|mi}} long" becomes " long". A few
dozen templates stand for words inside a sentence; those are rendered here, all others are not. References come last, as
on the page; those made by citation templates are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

HIDDEN_TAGS = frozenset(
    {"table", "gallery", "math", "timeline", "imagemap", "source", "syntaxhighlight", "score", "references", "nowiki"}
)
"""`table` is in Cirrus' `auxiliary_text`, not in `text`; of the others a page shows a picture."""

BREAKING_TAGS = frozenset({"br", "hr", "li", "dd", "dt", "p", "div", "blockquote", "poem", "center"})

ENGLISH_MEDIA = ("file", "image", "media")
ENGLISH_CATEGORY = ("category",)
"""Understood by every wiki, whatever its language."""

ARGUMENT_SHOWN = {
    **dict.fromkeys(
        ("nowrap", "small", "smaller", "nobold", "sc", "angbr", "vanchor", "keypress", "ipa", "quote", "nts"), 1
    ),
    **dict.fromkeys(("as of", "tooltip", "abbr", "flag", "nihongo", "vr", "val", "dts", "blockquote", "linktext"), 1),
    **dict.fromkeys(("lang", "transl", "native name"), 2),
}
"""Name of a template -> number of the argument that it puts into the sentence."""

PATTERNS = {"convert": "{} {}", "cvt": "{} {}", "circa": "c. {}", "c.": "c. {}", "frac": "{}/{}"}
"""Templates that show their first two arguments in a pattern."""

LITERAL = {
    "'": "'",
    "'s": "'s",
    "·": " · ",
    "nbsp": " ",
    "spaces": " ",
    "pipe": "|",
    "!": "|",
    **dict.fromkeys(("ndash", "endash", "–"), "–"),
    **dict.fromkeys(("snd", "spnd", "spaced ndash"), " – "),
}


@dataclass(frozen=True, slots=True)
class Article:
    """What a search index keeps of an article's wikitext; links are titles as written, without anchors."""

    text: str
    opening_text: str
    headings: list[str]
    categories: list[str]
    links: list[str]
    templates: list[str]


@dataclass(frozen=True, slots=True)
class LinkNames:
    """What a wiki calls its files and its categories: `[[Datei:Karte.png]]` shows no text of its own either."""

    media: tuple[str, ...] = ENGLISH_MEDIA
    category: tuple[str, ...] = ENGLISH_CATEGORY

    @property
    def not_articles(self) -> re.Pattern[str]:
        """Links that show no text of their own: media, categories, and the same article in other languages."""
        return re.compile(rf"{_any_of(self.media + self.category)}\s*:|[a-z]{{2,3}}(?:-[a-z]+)*:")

    @property
    def in_category(self) -> re.Pattern[str]:
        return re.compile(rf"{_any_of(self.category)}:")


ENGLISH = LinkNames()


def read_article(wikitext: str, names: LinkNames = ENGLISH) -> Article:
    """Parses an article: about 13 ms for each 10,000 characters.

    Wikitext that is made for it takes minutes: 40,000 characters of `{{a|` one. Text from outside is parsed in a
    process that can be ended (`MarkupParser`).
    """
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    first = next((place for place, node in enumerate(code.nodes) if isinstance(node, Heading)), len(code.nodes))
    hidden, in_category = names.not_articles, names.in_category
    prose = _Prose(hidden)
    opening = tidy("".join(map(prose.of, code.nodes[:first])))
    rest = tidy("".join(map(prose.of, code.nodes[first:])))
    notes = tidy(" ".join(prose.references))
    links = [_target(link) for link in code.filter_wikilinks()]
    return Article(
        text=" ".join(part for part in (opening, rest, notes) if part),
        opening_text=opening,
        headings=[tidy(_Prose(hidden).all(heading.title)) for heading in code.filter_headings()],
        categories=_unique(name[found.end() :].strip() for name in links if (found := in_category.match(name))),
        links=_unique(name for name in links if name and not hidden.match(name)),
        templates=_unique(_name(template) for template in code.filter_templates()),
    )


@dataclass(slots=True)
class _Prose:
    """Renders nodes, and collects the references that it passes."""

    hidden: re.Pattern[str]
    references: list[str] = field(default_factory=list)

    def all(self, code: Wikicode | None) -> str:
        return "".join(map(self.of, code.nodes)) if code is not None else ""

    def of(self, node: Node) -> str:  # noqa: PLR0911 - one return a kind of node
        match node:
            case Text():
                return str(node.value)
            case HTMLEntity():
                return str(node.normalize())
            case Heading():
                return f"\n{self.all(node.title)}\n"
            case Wikilink():
                return self._link(node)
            case ExternalLink():
                return self.all(node.title) if node.brackets else str(node.url)
            case Tag():
                return self._tag(node)
            case Template():
                return self._template(node)
        return ""

    def _link(self, link: Wikilink) -> str:
        if self.hidden.match(str(link.title).strip()):
            return ""
        return self.all(link.text or link.title).lstrip(":")

    def _tag(self, tag: Tag) -> str:
        name = str(tag.tag).strip().lower()
        if name == "ref":
            self.references.append(self.all(tag.contents))
            return ""
        if name in HIDDEN_TAGS:
            return ""
        shown = self.all(tag.contents)
        return f"\n{shown}\n" if name in BREAKING_TAGS else shown

    def _template(self, template: Template) -> str:
        name = _name(template).lower()
        if name in LITERAL:
            return LITERAL[name]
        if name == "chem":
            return "".join(self.all(argument.value).strip() for argument in template.params)
        if name in PATTERNS:
            return PATTERNS[name].format(*(self._argument(template, number) for number in (1, 2)))
        shown = 1 if name.startswith("lang-") else ARGUMENT_SHOWN.get(name)
        return self._argument(template, shown) if shown else ""

    def _argument(self, template: Template, number: int) -> str:
        """A positional argument, empty when it is not given."""
        if not template.has(str(number)):
            return ""
        return self.all(template.get(str(number)).value).strip()


_TIDIED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"'{2,}", ""),  # bold and italic
        (r"__[A-Z]+__", ""),  # switches such as __NOTOC__
        (r"\{\|.*?\|\}", ""),  # a table that did not parse
        (r"\{\{|\}\}|\[\[|\]\]", ""),
        (r"\s+", " "),
        (r"\(\s*(?:[;,:]\s*)+", "("),  # what a dropped template leaves: "(; born 1809)"
        (r"\s*(?:[;,:]\s*)*\)", ")"),
        (r"\s*\(\s*\)", ""),
        (r" ([,.;:!?])(?=\s|$)", r"\1"),
    )
)


def tidy(text: str) -> str:
    """One line of prose: no markup residue, no empty brackets, single spaces."""
    for pattern, replacement in _TIDIED:
        text = pattern.sub(replacement, text)
    return text.strip()


def _target(link: Wikilink) -> str:
    return str(link.title).partition("#")[0].replace("_", " ").strip().removeprefix(":")


def _name(template: Template) -> str:
    return str(template.name).partition("<!--")[0].replace("_", " ").strip()


def _any_of(names: Iterable[str]) -> str:
    return f"(?i:{'|'.join(map(re.escape, names))})"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
