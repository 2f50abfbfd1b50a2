"""Words that the questions of `bench/questions` share with the articles that answer them: few.

`python -m bench.overlap [FOLDER]`: FOLDER has shards of a CirrusSearch dump; without one the demo's sample is taken.
A question in other words than its article tests meaning; one in the same words tests nothing that a search by words
cannot do. An article of 32,000 characters has most of English's common words, so look at the passage as well: the
1,000 characters of the article that share most with the question.
"""

from __future__ import annotations

import argparse
import bz2
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.question_sets import OWN
from deploy.local.sample import write_sample
from pipeline.settings import Settings

PASSAGE = 1_000
"""Characters."""

_COMMON = (
    "a about after against all along am among an and any are as at be because been before behind being beside between"
    " but by can could did do does doing down during each every for from get gets getting got had has have having he"
    " her here him his how if in into is it its itself just like made make makes many may might more most much no nor"
    " not nothing now of off on once one only onto or other our out over own per said say says she should so some such"
    " than that the their them themselves then there these they this those through to too until up upon us use used"
    " was were what when where which while who whom whose why will with without would you your"
)
COMMON = frozenset(_COMMON.split())
"""Words that say nothing of what a question is about."""

_ENDINGS = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s", "e", "y")


def terms(text: str) -> frozenset[str]:
    """The words that say something, without endings.

    >>> sorted(terms("Who was painting the boats?"))
    ['boat', 'paint']
    """
    plain = unicodedata.normalize("NFKD", text).casefold().replace("'s", "")
    return frozenset(_stem(word) for word in re.findall(r"[^\W_]+", plain) if word not in COMMON)


def share(question: str, text: str) -> float:
    """Share of the question's terms that the text has.

    >>> share("Who painted boats?", "A painter of harbours. A boat.")
    0.5
    """
    asked = terms(question)
    return len(asked & terms(text)) / len(asked) if asked else 0.0


def _stem(word: str) -> str:
    return next((word[: -len(end)] for end in _ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), word)


def _passages(text: str) -> Iterator[str]:
    for start in range(0, max(1, len(text) - PASSAGE // 2), PASSAGE // 2):
        yield text[start : start + PASSAGE]


def _articles(folder: Path) -> dict[str, str]:
    """Page id -> title and text."""
    found = {}
    for shard in sorted(folder.glob("*.bz2")):
        for line in bz2.decompress(shard.read_bytes()).decode().split("\n"):
            row = json.loads(line) if line else {}
            if row.get("text"):
                found[str(row["page_id"])] = f"{row['title']}\n{row['text']}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    articles = _articles(given.folder or write_sample(Settings().data_dir / "sample"))
    rows = [json.loads(line) for line in (OWN / "enwiki.jsonl").read_text("utf-8").splitlines()]
    wholes, passages = [], []
    for row in rows:
        text = articles[str(row["page_id"])]
        wholes.append(share(row["question"], text))
        passages.append(max(share(row["question"], part) for part in _passages(text)))
        print(f"{wholes[-1]:.2f} {passages[-1]:.2f}  {row['question']}")
    print(f"{len(rows)} questions; median share of a question's words in its article {median(wholes):.2f}, ", end="")
    print(f"in the passage that shares most {median(passages):.2f}")


if __name__ == "__main__":
    main()
