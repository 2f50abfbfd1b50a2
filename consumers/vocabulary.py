"""Text that a model's vocabulary lacks: the token that stands for it, and how much of a text became that token."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from tokenizers import Tokenizer

from pipeline.errors import UsageError, is_fault, one_line
from pipeline.model_files import ModelFiles

NOBODYS_CHARACTER = chr(0xFFFFD)
"""For private use: in no vocabulary."""


class Unknown(NamedTuple):
    """The part of a text that the model cannot tell apart: all of it became the one token for what is not known.

    A token can stand for any number of characters: 6,480 of Thai are one `[UNK]` of MiniLM. So characters say how much
    of the text is lost, tokens how much of the model's input.
    """

    characters: int = 0
    of_characters: int = 0
    """Characters that have a token: all but white space, mostly."""
    tokens: int = 0


NOTHING_UNKNOWN = Unknown()


class _Vocabulary(msgspec.Struct):
    unk_token: str | None = None
    """Of WordPiece, WordLevel and BPE; none where bytes stand for what is not known."""
    unk_id: int | None = None
    """Of Unigram."""


class _TokenizerFile(msgspec.Struct):
    model: _Vocabulary


def unknown_id(files: ModelFiles, tokenizer: Tokenizer) -> int | None:
    """The id that stands for everything that the vocabulary lacks; None when it lacks nothing (bytes as tokens)."""
    try:
        vocabulary = msgspec.json.decode(files.tokenizer_file.read_bytes(), type=_TokenizerFile).model
    except msgspec.DecodeError as error:
        raise UsageError(f"{files.tokenizer_file}: {error}") from None
    found = vocabulary.unk_id if vocabulary.unk_token is None else tokenizer.token_to_id(vocabulary.unk_token)
    return None if found is None else int(found)


def check_unknown(tokenizer: Tokenizer, files: ModelFiles) -> None:
    """Refuses a vocabulary that has no token for what it lacks: it fails on the first such character of any page."""
    try:
        tokenizer.encode(NOBODYS_CHARACTER)
    except BaseException as error:
        if not is_fault(error):
            raise
        raise UsageError(f"{files.tokenizer_file}: fails on an unknown character: {one_line(error)}") from None
