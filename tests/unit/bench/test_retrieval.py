"""The pure parts of `bench.retrieval`: measures, question sets, misspelt names."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bench.names import made, misspelt
from bench.overlap import share
from bench.question_sets import OWN, Question, QuestionSet, load
from bench.ranking import ndcg, recall, reciprocal_rank, reciprocal_rank_fusion
from bench.retrieval import scored
from pipeline.errors import UsageError


def test_measures_count_ranks_from_one_and_stop_at_k() -> None:
    found = ["a", "b", "c"]
    assert recall(found, {"b", "x"}, 2) == 0.5
    assert reciprocal_rank(found, {"c"}, 10) == pytest.approx(1 / 3)
    assert reciprocal_rank(found, {"c"}, 2) == 0
    assert ndcg(found, {"a": 1, "b": 1}, 10) == 1
    assert ndcg(found, {"b": 1}, 10) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg(found, {"a": 1, "b": 2}, 10) == pytest.approx((1 + 3 / 1.58496) / (3 + 1 / 1.58496), abs=1e-4)


def test_rank_fusion_puts_what_both_legs_found_first() -> None:
    assert reciprocal_rank_fusion(["a", "b"], ["c", "b"])[0] == "b"


def test_a_beir_folder_is_read_with_its_grades(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "how"}\n{"_id": "q2", "text": "why"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t0\n")
    questions = load(tmp_path, "books").questions
    assert [(one.text, one.pages) for one in questions] == [("how", {"books:d1"})]  # q2 has no right page
    assert questions[0].grades["books:d1"] == 2


def test_a_file_of_our_own_is_named_after_its_wiki(tmp_path: Path) -> None:
    file = tmp_path / "frwiki.jsonl"
    file.write_text('{"question": "où", "page_id": 7}\n', "utf-8")
    assert load(file) == QuestionSet("frwiki", [Question("où", {"frwiki:7": 1})])
    file.write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match="not a question set"):
        load(file)


def test_margins_compare_the_hybrid_with_the_better_leg() -> None:
    one = QuestionSet("s", [Question("q", {"w:1": 1}), Question("r", {"w:2": 1})])
    found = {
        "vector": {"q": ["w:1"], "r": ["w:9"]},
        "text": {"q": ["w:9"], "r": ["w:9"]},
        "hybrid": {"q": ["w:9", "w:1"], "r": ["w:2"]},
    }
    report = scored(one, lambda question, mode: found[mode][question])
    assert report.recall_margin == 0.5
    assert report.mrr_margin == 0.25
    assert report.missed == []


def test_misspelt_names_differ_in_one_place_and_never_in_their_first_letter() -> None:
    for seed in range(50):
        written = misspelt("Lighthouse", random.Random(seed))
        assert written != "Lighthouse"
        assert written[0] == "L"
        assert abs(len(written) - 10) <= 1


def test_a_name_of_two_pages_is_right_for_both() -> None:
    pages = [
        {"page": "w:1", "title": "Mercury", "aliases": ["Quicksilver"]},
        {"page": "w:2", "title": "mercury", "aliases": None},
    ]
    sets = {one.name: one.questions for one in made(pages, 10, random.Random(1))}
    assert {question.pages for question in sets["titles"]} == {frozenset({"w:1", "w:2"})}
    assert [question.pages for question in sets["aliases"]] == [{"w:1"}]
    assert len(sets["one wrong letter"]) == 3


def test_our_questions_are_sixty_about_sixty_pages() -> None:
    rows = [json.loads(line) for line in (OWN / "enwiki.jsonl").read_text("utf-8").splitlines()]
    assert len({row["page_id"] for row in rows}) == len({row["question"] for row in rows}) == 60


def test_the_share_of_a_questions_words_leaves_out_common_ones_and_endings() -> None:
    assert share("Who was painting the boats?", "A boat in the harbour") == 0.5
