"""Rendered wikitext to one line of prose, with the kinds of markup that nobody understood.

Text that a reader sees as it is written, in `<nowiki>` or in code, must come through unchanged: `literal` writes its
signs as noncharacters, which Unicode keeps for use inside a program, and the last step puts the signs back.
"""

from __future__ import annotations

import html
import re
import unicodedata

from producers.wikimedia.links import LANGUAGES

_SIGNS = "'[]{}|_-=<>&(),;:.!?"
_LITERAL = {ord(sign): chr(0xFDD0 + place) for place, sign in enumerate(_SIGNS)}
_SHOWN = {ord(kept): sign for sign, kept in zip(_SIGNS, _LITERAL.values(), strict=True)}

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

_HTML_TAGS = (
    *("abbr", "b", "bdi", "bdo", "big", "blockquote", "br", "caption", "center", "cite", "code", "data", "dd", "del"),
    *("dfn", "div", "dl", "dt", "em", "font", "gallery", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "includeonly"),
    *("ins", "kbd", "li", "mark", "math", "noinclude", "nowiki", "ol", "onlyinclude", "p", "poem", "pre", "q", "ref"),
    *("references", "rp", "rt", "ruby", "s", "samp", "small", "source", "span", "strike", "strong", "sub", "sup"),
    *("syntaxhighlight", "table", "td", "th", "time", "tr", "tt", "u", "ul", "var", "wbr"),
)
_APOSTROPHES = re.compile(r"'{2,}")
_SHOWN_APOSTROPHES = {2: 0, 3: 0, 4: 1}
_TABLE = "{|"
_UNSHOWN = re.compile(rf"<!--.*|</?(?:{'|'.join(_HTML_TAGS)})(?:\s[^<>]*)?/?>", re.IGNORECASE | re.DOTALL)
"""A comment without its end, and tags that are never closed or never opened: no browser shows them."""

_NAMED_ENTITY = re.compile(r"&[A-Za-z][A-Za-z0-9]{1,31};")

_SWITCH = re.compile(r"(?:__|＿＿)([^\s_＿](?:_?[^\s_＿]){1,60})(?:__|＿＿)")
_SMALL_SWITCHES = frozenset({"notoc", "forcetoc", "toc", "nogallery", "noeditsection"})

_VARIANTS = re.compile(r"-\{((?:(?!-\{|\}-).)*)\}-", re.DOTALL)
_VARIANT_FLAGS = re.compile(r"\s*([A-Za-z+\-]{0,12}(?:\s*;\s*[A-Za-z+\-]{1,12}){0,12})\s*\|")
_VARIANT_RULE = re.compile(r"\s*(?:[^;=]{0,200}=>\s*)?([a-z]{2,3})(?:-[a-z]{2,8})*\s*:", re.IGNORECASE)
_UNSHOWN_FLAGS = frozenset({"H", "T", "-"})
_NESTING = 4

_TIDIED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\{\{|\}\}|\[\[|\]\]", ""),
        (r"\s+", " "),
        (r"\(\s*(?:[;,:]\s*)+", "("),  # what a dropped template leaves: "(; born 1809)"
        (r"\s*(?:[;,:]\s*)*\)", ")"),
        (r"\s*\(\s*\)", ""),
        (r" ([,.;:!?])(?=\s|$)", r"\1"),
    )
)

_LEFT_BEFORE = {"template_left": ("{{", "}}"), "link_left": ("[[", "]]")}
_LEFT_AFTER = {
    kind: (sign, re.compile(pattern))
    for kind, sign, pattern in (
        ("table_left", "|", r"\{\||\|\}|\|-"),
        ("parameter_left", "|", r"\|\s*(?:[\w-]+\s*=|thumb\b|\d+px\b)"),
        ("tag_left", "<", r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>|<!--"),
        ("entity_left", "&", r"&(?:#[0-9]+|#[xX][0-9A-Fa-f]+|[A-Za-z][A-Za-z0-9]+);"),
        ("variant_left", "-{", r"-\{"),
        ("heading_left", "==", r"(?:^|\s)={2,}[^=]+={2,}(?=\s|$)"),
        ("switch_left", "__", r"__[^\W\d_]+__"),
    )
}
"""A sign that is in every one of the kind, which takes far less time to look for, and the pattern."""
LEFT = (*_LEFT_BEFORE, *_LEFT_AFTER)
"""Names for kinds of markup in a text, each in the singular: a page has it or not."""


def literal(text: str) -> str:
    """The text with its signs hidden from `one_line`, which puts them back."""
    return text.translate(_LITERAL)


def without_quotes(text: str) -> str:
    """A piece of wikitext without the apostrophes that make it bold or italic: of two, three and five none is shown, of
    any other number the first ones are. Not for pieces put together, where a dropped template stood between two."""
    return _APOSTROPHES.sub(lambda found: "'" * _SHOWN_APOSTROPHES.get(len(found[0]), len(found[0]) - 5), text)


def one_line(rendered: str) -> tuple[str, set[str]]:
    """One line of prose: no markup residue, no empty brackets, single spaces; and the kinds of `LEFT` that are in it.

    Brackets of links and templates that did not parse are counted, though they go.
    """
    text = _without_tables(rendered) if _TABLE in rendered else rendered
    text = _one_variant(text) if "-{" in text else text
    text = _SWITCH.sub(_unless_switch, text) if "__" in text or "＿＿" in text else text
    text = _UNSHOWN.sub("", text) if "<" in text else text
    left = {kind for kind, signs in _LEFT_BEFORE.items() if any(sign in text for sign in signs)}
    for pattern, replacement in _TIDIED:
        text = pattern.sub(replacement, text)
    text = _NAMED_ENTITY.sub(lambda entity: html.unescape(entity[0]), text).strip()
    left |= {kind for kind, (sign, pattern) in _LEFT_AFTER.items() if sign in text and pattern.search(text)}
    return text.translate(_SHOWN), left


def well_formed(text: str) -> str:
    """The text as a wiki would store it: NFC, without control characters, each half of a pair of surrogates joined to
    its other half or U+FFFD. All these can come out of entities."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", _CONTROLS.sub("", text))


def _without_tables(text: str) -> str:
    """Without the rows of tables that were not parsed, as their ends are missing; other lines in them are shown."""
    kept, inside = [], False
    for line in text.split("\n"):
        begin = line.lstrip(" \t:*#")
        if begin.startswith(_TABLE):
            inside = True
        elif inside and begin.startswith("|}"):
            inside = False
            kept.append(begin[2:])
        elif not (inside and begin.startswith(("|", "!"))):
            kept.append(line)
    return "\n".join(kept)


def _one_variant(text: str) -> str:
    """With the first variant of each `-{zh-hans:…;zh-hant:…}-`."""
    for _ in range(_NESTING):
        text, found = _VARIANTS.subn(lambda variants: _first_variant(variants[1]), text)
        if not found:
            break
    return text


def _first_variant(variants: str) -> str:
    """https://www.mediawiki.org/wiki/Writing_systems/Syntax"""
    if flags := _VARIANT_FLAGS.match(variants):
        if _UNSHOWN_FLAGS & {flag.strip() for flag in flags[1].split(";")}:
            return ""
        variants = variants[flags.end() :]
    rule = _VARIANT_RULE.match(variants)
    if rule is None or rule[1].lower() not in LANGUAGES:
        return variants
    return variants[rule.end() :].partition(";")[0].strip()


def _unless_switch(found: re.Match[str]) -> str:
    """Nothing for `__NOTOC__` in any script; `__init__` stays, as on the page."""
    name = found[1]
    if name.lower() in _SMALL_SWITCHES:
        return ""
    if name != name.upper():
        return found[0]
    return "" if all(sign == "_" or unicodedata.category(sign)[0] in "LM" for sign in name) else found[0]
