"""Turns a page into chunks: windows of the model's own tokens, each a complete model input.

Pure: nothing is read but the tokenizer's file, and the same page always gives the same bytes. torch is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from tokenizers import Encoding

from consumers.breaks import splits_character
from consumers.tokens import Ids, Tokens, is_word_by_word, load_tokenizer, tokenise
from consumers.vocabulary import NOTHING_UNKNOWN, Unknown, unknown_id
from consumers.windows import Window, first_window, windows
from pipeline.errors import UsageError
from pipeline.model_files import ModelFiles
from pipeline.records import Chunk, ChunkedPage, Page, Source
from pipeline.settings import Unit
from pipeline.version import version

TITLE_TOKENS = 32
TITLE_CHARACTERS = 1_000
SMALLEST_WINDOW = 8
SLACK = 8
"""Tokens left free where a window's edge may be tokenised differently alone than within the page."""

_TITLE_SLOT = re.compile(r"title: none\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chunked:
    """A page as it goes downstream, and its chunks.

    `page.text` is what the chunks' spans refer to and, but for white space, all covered by them: the text, the
    opening text for unit `lead`, the beginning that fits for unit `page`.
    """

    page: Page
    chunks: tuple[Chunk, ...]
    id_bytes: int
    unknown: Unknown = NOTHING_UNKNOWN

    @property
    def tokens(self) -> int:
        """Tokens of all model inputs."""
        return sum(len(chunk.ids) for chunk in self.chunks) // self.id_bytes

    def record(self, source: Source) -> ChunkedPage:
        return ChunkedPage(
            key=self.page.key,
            source=source,
            page=self.page,
            id_bytes=2 if self.id_bytes == 2 else 4,
            chunks=self.chunks,
            cirrostream=version(),
        )


class Chunker:
    """Chunks pages for one model and one unit.

    A chunk's ids are those of the string `embedded_text(page, chunk)` with special tokens: document prompt, title (at
    most 32 tokens), a line break, the window's text. A prompt with a slot "title: none" (Gemma's) takes the title
    there.

    Raises:
        UsageError: the overlap is more than half a window, or the model is too short for any window.
    """

    def __init__(self, files: ModelFiles, unit: Unit, window_tokens: int, overlap_tokens: int) -> None:
        if unit == "window" and 2 * overlap_tokens > window_tokens:
            raise UsageError(
                f"--overlap-tokens {overlap_tokens} is more than half of --window-tokens {window_tokens}: "
                "every text would be embedded many times over"
            )
        self._tokenizer = load_tokenizer(files)
        self._unit = unit
        self._prompt = files.document_prompt
        self._max_tokens = files.max_tokens
        self._word_by_word = is_word_by_word(self._tokenizer)
        self._unknown_id = unknown_id(files, self._tokenizer)
        self._before, self._after = self._special_ids()
        known = self._tokenizer.get_vocab_size(with_added_tokens=True)
        largest = max([known - 1, *self._tokenizer.get_added_tokens_decoder()])
        self.id_bytes = 2 if largest < 2**16 else 4
        room = self._room(len(self._ids_of(self._prompt)) + TITLE_TOKENS)
        if room < SMALLEST_WINDOW:
            raise UsageError(f"{files.name}: {files.max_tokens} tokens leave none for text after prompt and title")
        self.window_tokens = min(window_tokens, room)
        self.overlap_tokens = min(overlap_tokens, self.window_tokens // 2)
        self.notice = ""
        if unit == "window" and self.window_tokens < window_tokens:
            self.notice = (
                f"windows have {self.window_tokens} tokens instead of {window_tokens}: {files.name} takes "
                f"{files.max_tokens} with prompt, title and special tokens"
            )

    def chunk(self, page: Page) -> Chunked:
        """The page's chunks; none for a text that is empty or white space."""
        return self.chunk_all([page])[0]

    def chunk_all(self, pages: Sequence[Page]) -> list[Chunked]:
        """As `chunk` for each page, tokenised together, which uses all cores."""
        texts = [page.opening_text if self._unit == "lead" else page.text for page in pages]
        headers = self._headers([page.title for page in pages])
        enough = None if self._unit == "window" else self._max_tokens
        tokens = tokenise(self._tokenizer, texts, enough)
        return [
            self._chunked(page, text, header, its)
            for page, text, header, its in zip(pages, texts, headers, tokens, strict=True)
        ]

    def embedded_text(self, page: Page, chunk: Chunk) -> str:
        """The string whose encoding the chunk's ids are; `page` as in `Chunked`.

        For `SentenceTransformer.encode(text, prompt="")`: the prompt is already part of it.
        """
        return self._headers([page.title])[0] + page.text[chunk.start : chunk.end]

    def _chunked(self, page: Page, text: str, header: str, tokens: Tokens) -> Chunked:
        header_ids = self._ids_of(header)
        size = self._room(len(header_ids))
        if self._unit == "window":
            size = min(size, self.window_tokens)
        while True:
            found = self._windows(text, tokens, size)
            inputs = self._inputs(text, tokens, header, header_ids, found)
            if all(len(ids) <= self._max_tokens for ids in inputs):
                break
            size = size * 3 // 4  # alone, the edges have more tokens than within the page; by far, for odd text only
            if size < SMALLEST_WINDOW:
                raise ValueError(f"no window of this page fits into the model's {self._max_tokens} tokens")
        if self._unit != "window":
            text = text[: found[0].end] if found else ""
        kind = "<u2" if self.id_bytes == 2 else "<u4"
        chunks = tuple(
            Chunk(number, window.start, window.end, ids.astype(kind).tobytes())
            for number, (window, ids) in enumerate(zip(found, inputs, strict=True))
        )
        page = msgspec.structs.replace(page, text=text, opening_text="")
        return Chunked(page, chunks, self.id_bytes, self._unknown(tokens, inputs))

    def _unknown(self, tokens: Tokens, inputs: Sequence[Ids]) -> Unknown:
        lengths = tokens.ends - tokens.starts
        if self._unknown_id is None:
            return Unknown(of_characters=int(lengths.sum()))
        unknown = tokens.ids == self._unknown_id
        in_inputs = sum(int(np.count_nonzero(ids == self._unknown_id)) for ids in inputs)
        return Unknown(int(lengths[unknown].sum()), int(lengths.sum()), in_inputs)

    def _windows(self, text: str, tokens: Tokens, size: int) -> list[Window]:
        if self._unit == "window":
            return windows(text, tokens, size, min(self.overlap_tokens, size // 2))
        return first_window(text, tokens, size)

    def _inputs(self, text: str, tokens: Tokens, header: str, header_ids: Ids, found: list[Window]) -> list[Ids]:
        """The model input of each window: the page's tokens where they are the window's own, else tokenised anew."""
        inputs: list[Ids] = []
        for window in found:
            if self._is_exact(tokens, window):
                own = tokens.ids[window.first : window.last]
                inputs.append(np.concatenate([self._before, header_ids, own, self._after]))
            else:
                encoding = self._tokenizer.encode(header + text[window.start : window.end])
                inputs.append(np.array(encoding.ids, dtype=np.uint32))
        return inputs

    def _is_exact(self, tokens: Tokens, window: Window) -> bool:
        if not self._word_by_word:
            return False
        first, last = window.first, window.last
        clean = (first == last or tokens.clean[first]) and (last == len(tokens) or tokens.clean[last])
        return bool(clean) and not any(window.start < seam < window.end for seam in tokens.seams)

    def _headers(self, titles: Sequence[str]) -> list[str]:
        """The prefix of the text in each page's chunks."""
        short = [title.strip()[:TITLE_CHARACTERS] for title in titles]
        encodings = self._tokenizer.encode_batch(short, add_special_tokens=False)
        return [self._header(_cut_title(title, its)) for title, its in zip(short, encodings, strict=True)]

    def _header(self, title: str) -> str:
        if not title:
            return self._prompt
        if _TITLE_SLOT.search(self._prompt):
            return _TITLE_SLOT.sub(lambda _: f"title: {title}", self._prompt, count=1)
        return f"{self._prompt}{title}\n"

    def _room(self, header_tokens: int) -> int:
        """Tokens that a window may have after a header of so many."""
        slack = 0 if self._word_by_word else SLACK
        return self._max_tokens - len(self._before) - len(self._after) - header_tokens - slack

    def _ids_of(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def _special_ids(self) -> tuple[Ids, Ids]:
        """The tokens that the post-processor puts before and after a text, learnt from an example."""
        plain = self._ids_of("a").tolist()
        whole = self._tokenizer.encode("a").ids
        for at in range(len(whole) - len(plain) + 1):
            if plain and whole[at : at + len(plain)] == plain:
                before, after = whole[:at], whole[at + len(plain) :]
                return np.array(before, dtype=np.uint32), np.array(after, dtype=np.uint32)
        raise UsageError("the tokenizer's special tokens do not stand before and after the text; no such model works")


def _cut_title(title: str, encoding: Encoding) -> str:
    if len(encoding) <= TITLE_TOKENS:
        return title
    position = encoding.offsets[TITLE_TOKENS][0]
    while position > 0 and splits_character(title, position):
        position -= 1
    return title[:position].rstrip()
