"""Wikitext as the prose that a CirrusSearch dump has in `text`: one line, without tables, infoboxes and markup.

mwparserfromhell's own `strip_code` drops every template, so that "{{convert|50|km|mi}} long" becomes " long". A few
dozen templates stand for words inside a sentence; those are rendered here, all others are not. References come last, as
on the page; those made by citation templates are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import mwparserfromhell
from mwparserfromhell.nodes import Argument, ExternalLink, Heading, HTMLEntity, Node, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from producers.wikimedia.links import ENGLISH, Kind, LinkNames
from producers.wikimedia.one_line import literal, one_line, without_quotes

LITERAL_TAGS = frozenset({"nowiki", "pre", "source", "syntaxhighlight"})
"""Their text is shown as it is written."""

HIDDEN_TAGS = frozenset(
    {
        *("table", "gallery", "math", "chem", "ce", "timeline", "imagemap", "score", "hiero", "graph"),
        *("mapframe", "maplink", "inputbox", "categorytree", "templatedata", "templatestyles", "section"),
        *("references", "includeonly", "indicator"),
    }
)
"""`table` is in Cirrus' `auxiliary_text`, not in `text`; of the others a page shows a picture, or nothing."""

BREAKING_TAGS = frozenset(
    {"br", "hr", "li", "dd", "dt", "p", "div", "blockquote", "poem", "center", "pre", "source", "syntaxhighlight"}
)

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
    """The part that a search index keeps of an article's wikitext; links are titles as written, without anchors."""

    text: str
    opening_text: str
    headings: list[str]
    categories: list[str]
    links: list[str]
    templates: list[str]
    left: tuple[str, ...]
    """Kinds of markup that are left in the text, of `one_line.LEFT`."""


def read_article(wikitext: str, names: LinkNames = ENGLISH) -> Article:
    """Parses an article: about 9 ms for each 10,000 characters.

    Wikitext that is made for it takes minutes: 40,000 characters of `{{a|` one. Text from outside is parsed in a
    process that can be ended (`MarkupParser`).
    """
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    first = next((place for place, node in enumerate(code.nodes) if isinstance(node, Heading)), len(code.nodes))
    prose = _Prose(names)
    opening, opening_left = one_line("".join(map(prose.of, code.nodes[:first])))
    rest, rest_left = one_line("".join(map(prose.of, code.nodes[first:])))
    notes, notes_left = one_line(" ".join(prose.references))
    links, headings, templates = [], [], []
    kinds = (Wikilink, Heading, Template)
    for node in code.ifilter(forcetype=kinds):  # type: ignore[call-overload] # once: it takes as long as rendering
        match node:
            case Wikilink():
                links.append(names.target(str(node.title)))
            case Heading():
                headings.append(one_line(_Prose(names).all(node.title))[0])
            case Template():
                templates.append(_name(node))
    return Article(
        text=" ".join(part for part in (opening, rest, notes) if part),
        opening_text=opening,
        headings=headings,
        categories=_unique(link.name for link in links if link.kind is Kind.CATEGORY),
        links=_unique(link.name for link in links if link.kind is Kind.PAGE),
        templates=_unique(templates),
        left=tuple(sorted(opening_left | rest_left | notes_left)),
    )


@dataclass(slots=True)
class _Prose:
    """Renders nodes, and collects the references that it passes."""

    names: LinkNames
    references: list[str] = field(default_factory=list)

    def all(self, code: Wikicode | None) -> str:
        return "".join(map(self.of, code.nodes)) if code is not None else ""

    def of(self, node: Node) -> str:  # noqa: PLR0911 - one return a kind of node
        match node:
            case Text():
                return without_quotes(str(node.value))
            case HTMLEntity():
                return literal(str(node.normalize()))
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
            case Argument():
                return self.all(node.default)
        return ""

    def _link(self, link: Wikilink) -> str:
        if self.names.target(str(link.title)).kind is not Kind.PAGE:
            return ""
        return self.all(link.text) or self.all(link.title).lstrip(": ")

    def _tag(self, tag: Tag) -> str:
        name = str(tag.tag).strip().lower()
        if name == "ref":
            self.references.append(self.all(tag.contents))
            return ""
        if name in HIDDEN_TAGS or _is_hidden(tag):
            return ""
        shown = self._literal(tag.contents) if name in LITERAL_TAGS else self.all(tag.contents)
        return f"\n{shown}\n" if name in BREAKING_TAGS else shown

    def _literal(self, code: Wikicode | None) -> str:
        """Entities are shown as what they stand for here, too."""
        return "".join(
            self.of(node) if isinstance(node, HTMLEntity) else literal(str(node))
            for node in (code.nodes if code is not None else ())
        )

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


def _is_hidden(tag: Tag) -> bool:
    """By its own style, such as a key to sort by."""
    if not tag.has("style"):
        return False
    style = str(tag.get("style").value).replace(" ", "").lower()
    return "display:none" in style or "visibility:hidden" in style


def _name(template: Template) -> str:
    return str(template.name).partition("<!--")[0].replace("_", " ").strip()


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
