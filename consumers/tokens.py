"""The tokens of whole pages, tokenised once, in pieces small enough that a page of 5 MB needs little memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, normalizers

from consumers.breaks import splits_character
from consumers.vocabulary import check_unknown
from pipeline.errors import UsageError, is_fault, one_line
from pipeline.model_files import ModelFiles

SEGMENT = 16_384
"""Code points tokenised in one piece: at most 64 KiB of UTF-8. In one piece, 5 MB take 793 MB (facts/embedding)."""

SEGMENTS_AT_ONCE = 16

Ints = NDArray[np.int32]
Ids = NDArray[np.uint32]
Flags = NDArray[np.bool_]

_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])
"""True when a code point is white space; none above U+3000 is."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text: `ids`, their spans `starts` and `ends` in code points, and where cuts are clean.

    `clean[i]`: the text before token i and the text from it on, tokenised each for itself, give these same tokens.
    `spaced[i]`: white space stands before token i, or it begins with some. `seams`: positions where the text was cut
    into pieces inside a word; tokens on both sides may differ from those of the whole.
    """

    ids: Ids
    starts: Ints
    ends: Ints
    clean: Flags
    spaced: Flags
    seams: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def load_tokenizer(files: ModelFiles) -> Tokenizer:
    """The model's tokenizer as sentence-transformers sets it up.

    The trap: the file's own truncation and padding stay active. MiniLM's cuts every text to 128 tokens, silently.

    Raises:
        UsageError: the file is no tokenizer, or of a kind that this version of tokenizers does not know.
    """
    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer_file))
    except BaseException as error:
        if not is_fault(error):
            raise
        raise UsageError(f"{files.tokenizer_file}: not a tokenizer: {one_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_unknown(tokenizer, files)
    if files.lowercase:
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def is_word_by_word(tokenizer: Tokenizer) -> bool:
    """True when words are tokenised independently of their neighbours: tokens of a part are a part of the tokens.

    True for BERT's and XLM-R's kind. Not for those that see the space before a word as part of it (GPT-2, Gemma,
    Llama): there a window's first word is another token at the start of a text than in its middle.
    """
    splits = _steps(tokenizer.pre_tokenizer, "pretokenizers")
    changes = _steps(tokenizer.normalizer, "normalizers")
    by_space = bool(splits) and splits[0]["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
    return by_space and all(map(_keeps_words, splits[1:])) and all(map(_keeps_spaces, changes))


def _steps(part: Any, children: str) -> list[dict[str, Any]]:
    """A tokenizer part's description, sequences flattened; `__getstate__` gives it as JSON."""
    if part is None:
        return []
    state = json.loads(part.__getstate__())
    nested = state.get(children, [state])
    return [step for child in nested for step in child.get(children, [child])]


def _keeps_words(step: dict[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return bool(step.get("prepend_scheme") == "always")
    return step["type"] in ("Punctuation", "Digits", "WhitespaceSplit", "Whitespace", "BertPreTokenizer")


def _keeps_spaces(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        return bool(step.get("content") == " ")
    kinds = ("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip", "StripAccents")
    return step["type"] in kinds


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], enough: int | None = None) -> list[Tokens]:
    """The tokens of each text, without special tokens; about the first `enough` of each when that is all one needs."""
    parts = [_Parts() for _ in texts]
    size = SEGMENT if enough is None else max(1_024, min(SEGMENT, 8 * enough))
    work = _work(texts, parts, size, enough)
    while group := list(itertools.islice(work, SEGMENTS_AT_ONCE)):
        pieces = [texts[which][start:end] for which, start, end in group]
        for (which, start, end), encoding in zip(
            group, tokenizer.encode_batch(pieces, add_special_tokens=False), strict=True
        ):
            parts[which].add(encoding, start, end, texts[which])
    return [part.join() for part in parts]


def _work(
    texts: Sequence[str], parts: Sequence[_Parts], size: int, enough: int | None
) -> Iterator[tuple[int, int, int]]:
    for which, text in enumerate(texts):
        for start, end in segments(text, size):
            if enough is not None and parts[which].count > enough:
                break
            yield which, start, end


def segments(text: str, size: int = SEGMENT) -> Iterator[tuple[int, int]]:
    """Cuts the text into pieces of at most `size` code points, before white space where there is some."""
    start = 0
    while start < len(text):
        end = _segment_end(text, start, size)
        yield start, end
        start = end


def _segment_end(text: str, start: int, size: int) -> int:
    limit = start + size
    if limit >= len(text):
        return len(text)
    for position in range(limit, start + size // 2, -1):
        if text[position].isspace() and not splits_character(text, position + 1):
            return position
    for position in range(limit, max(start, limit - 64), -1):
        if not splits_character(text, position):
            return position
    return limit


@dataclass(slots=True)
class _Parts:
    """Collects one text's pieces, each turned into arrays at once: an `Encoding` is ten times their size."""

    count: int = 0
    ids: list[Ids] = field(default_factory=list)
    offsets: list[Ints] = field(default_factory=list)
    clean: list[Flags] = field(default_factory=list)
    spaced: list[Flags] = field(default_factory=list)
    seams: list[int] = field(default_factory=list)

    def add(self, encoding: Encoding, start: int, end: int, text: str) -> None:
        if end < len(text) and not text[end].isspace():
            self.seams.append(end)
        size = len(encoding)
        self.count += size
        self.ids.append(np.array(encoding.ids, dtype=np.uint32))
        flat = np.fromiter(itertools.chain.from_iterable(encoding.offsets), dtype=np.int32, count=2 * size)
        offsets = flat.reshape(-1, 2)
        self.offsets.append(offsets + np.int32(start))
        self.clean.append(_word_starts(encoding.word_ids))
        self.spaced.append(_spaced(offsets, text[start:end]))

    def join(self) -> Tokens:
        if not self.ids:
            empty = np.zeros(0, dtype=np.int32)
            return Tokens(empty.astype(np.uint32), empty, empty, empty.astype(np.bool_), empty.astype(np.bool_))
        offsets = np.concatenate(self.offsets)
        # Normalisers may reorder combining marks; spans must not run backwards.
        return Tokens(
            ids=np.concatenate(self.ids),
            starts=np.maximum.accumulate(offsets[:, 0]),
            ends=np.maximum.accumulate(offsets[:, 1]),
            clean=np.concatenate(self.clean),
            spaced=np.concatenate(self.spaced),
            seams=tuple(self.seams),
        )


def _spaced(offsets: Ints, piece: str) -> Flags:
    codes = np.frombuffer(piece.encode("utf-32-le"), dtype="<u4")
    before = np.roll(offsets[:, 1], 1)
    before[:1] = 0
    begins_with_space: Flags = _SPACES[np.minimum(codes[offsets[:, 0]], len(_SPACES) - 1)]
    return begins_with_space | (offsets[:, 0] > before)


def _word_starts(words: Iterable[int | None]) -> Flags:
    numbers = np.array([-1 if word is None else word for word in words], dtype=np.int32)
    starts = np.ones(len(numbers), dtype=np.bool_)
    starts[1:] = (numbers[1:] != numbers[:-1]) | (numbers[1:] < 0)
    return starts
