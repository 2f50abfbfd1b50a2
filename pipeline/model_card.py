"""Languages of a model: those that its card lists, and models to take for the ones that it does not.

The card is the README.md beside the model's files; its front matter is YAML, of which only `language:` is read, by
hand: YAML takes the code of Norwegian, `no`, for false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.known_models import KNOWN, KnownModel

CARD = "README.md"
MAX_CARD_BYTES = 64 * 1024
"""Of a card's beginning; the front matter of models with benchmark results in it is long, and `language` comes first
or behind some kilobytes of tags."""

SAME = {"nb": "no", "nn": "no", "iw": "he", "fil": "tl", "simple": "en"}
"""Other codes of the same language, for this purpose."""

_FIELD = re.compile(r"^language:[ \t]*(.*)$", re.MULTILINE)
_ITEM = re.compile(r"\s*-\s+(.+)")
_CODE = re.compile(r"[a-z]{2,3}")


def card_languages(folder: Path, name: str) -> tuple[str, ...]:
    """Codes of the languages that a model is for, as its card says, else as we know it; empty when nothing says it.

    Args:
        folder: of the model's files.
        name: on the hub, for a card that is not there or lists no language.
    """
    return listed(_front_matter(folder / CARD)) or tuple(known.languages if (known := KNOWN.get(name)) else ())


def listed(front_matter: str) -> tuple[str, ...]:
    """The codes in a card's field `language`. `multilingual` beside nothing else says nothing.

    >>> listed("language:\\n- multilingual\\n- de\\n- zh-cn\\nlicense: mit"), listed("language: [en, 'no']")
    (('de', 'zh'), ('en', 'no'))
    """
    found = _FIELD.search(front_matter)
    if found is None:
        return ()
    names = found[1].strip().strip("[]").split(",") if found[1].strip() else _items(front_matter[found.end() + 1 :])
    return tuple(dict.fromkeys(code for name in names if (code := language_code(name))))


def language_code(name: str) -> str:
    """The code of two or three letters that a name begins with; empty when it is none."""
    code = name.partition("#")[0].strip().strip("\"'").lower().replace("_", "-").partition("-")[0]
    code = SAME.get(code, code)
    return code if _CODE.fullmatch(code) else ""


def unlisted(languages: Iterable[str], model: tuple[str, ...]) -> list[str]:
    """The languages that a model does not list; none when it lists none at all."""
    codes = dict.fromkeys(code for name in languages if (code := language_code(name)))
    return [code for code in codes if code not in model] if model else []


def languages_warning(name: str, model: tuple[str, ...], languages: Iterable[str]) -> str:
    """A line for a corpus in languages that its model's card does not list, with a model to take; else empty."""
    if not (missing := unlisted(languages, model)):
        return ""
    its = f"{', '.join(model[:5])}{f' and {len(model) - 5} more' if len(model) > 5 else ''}"
    lacking = f"{', '.join(missing[:5])}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
    return (
        f"{name} is a model for {its}, not for {lacking}: search by meaning will find little there. "
        f"A model to take instead: --model {model_for(languages).name} (docs/models.md)"
    )


def model_for(languages: Iterable[str]) -> KnownModel:
    """The first known model that lists all of these languages, else the one that lists most of them."""
    codes = {code for name in languages if (code := language_code(name))}
    return min(KNOWN.values(), key=lambda known: len(codes - known.languages))


def _front_matter(card: Path) -> str:
    try:
        with card.open("rb") as file:
            head = file.read(MAX_CARD_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""
    return head.split("\n---", 1)[0] if head.startswith("---\n") else ""


def _items(text: str) -> list[str]:
    items: list[str] = []
    for line in text.splitlines():
        found = _ITEM.fullmatch(line)
        if found is None:
            break
        items.append(found[1])
    return items
