"""The demo is a check: it ends well only when everything was as a person would expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.local import demo as module
from deploy.local.demo import QUESTIONS, demo
from deploy.local.run_settings import DemoSettings, RunSettings
from pipeline.errors import CheckFailed, Exit
from pipeline.settings import Settings
from producers.account import Ledger
from sinks.search import Answer, SearchOptions
from sinks.search.answers import Hit, LegReport
from sinks.verify.report import VerifyReport


def hit(title: str) -> Hit:
    return Hit(
        rank=1, score=0.5, id="w:1#0", page="w:1", wiki="w", title=title, url="", text="Text.",
        n=0, n_chunks=1, start=0, end=5, revision=1, timestamp="",
    )  # fmt: skip


class ScriptedPipeline:
    """Stands for the run, the verification and the search, each with the outcome that it is given."""

    def __init__(self) -> None:
        self.run_code: int = Exit.DONE
        self.complete = True
        self.titles = {question.text: question.expected for question in QUESTIONS}
        self.ran: list[RunSettings] = []
        self.asked: list[str] = []
        self.legs: list[LegReport] = []
        self.kafka_is_up = False
        self.shards = [SimpleNamespace(key="a"), SimpleNamespace(key="b")]
        ledger = Ledger(lines=4, paired=2, read=2, produced=1, dropped={"redirect": 1})
        self.progress = {key: SimpleNamespace(ledger=ledger.copy()) for key in ("a", "b", "another source")}

    @contextmanager
    def local_kafka(self, _: RunSettings) -> Iterator[None]:
        self.kafka_is_up = True
        yield
        self.kafka_is_up = False

    def run_pipeline(self, settings: RunSettings) -> int:
        self.ran.append(settings)
        return self.run_code

    def connect(self, _: Settings) -> ScriptedPipeline:
        assert self.kafka_is_up, "the verification reads `pages`"
        return self

    def close(self) -> None:
        pass

    def verified(self, *_: object) -> tuple[VerifyReport, list[str]]:
        return VerifyReport(ok=self.complete, table="t", model="m", pages=1, rows=1, seconds=0.1, checks=()), []

    def open(self, _: SearchOptions) -> ScriptedPipeline:
        return self

    def __enter__(self) -> ScriptedPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answer(self, question: str, *, k: int) -> Answer:
        self.asked.append(question)
        title = self.titles[question]
        hits = [hit(title)] if title else []
        return Answer(
            question=question, table="t", model="m", mode="hybrid", k=k, seconds=0.1, hits=hits, legs=self.legs
        )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ScriptedPipeline:
    scripted = ScriptedPipeline()
    monkeypatch.setattr(module, "write_sample", lambda folder, downloads: folder)
    monkeypatch.setattr(module, "local_kafka", scripted.local_kafka)
    monkeypatch.setattr(module, "run_pipeline", scripted.run_pipeline)
    monkeypatch.setattr(module, "Cluster", scripted)
    monkeypatch.setattr(module, "find_shards", lambda sources, names: scripted.shards)
    monkeypatch.setattr(module, "read_progress", lambda cluster, topic: scripted.progress)
    monkeypatch.setattr(module, "verified", scripted.verified)
    monkeypatch.setattr(module, "Search", scripted)
    return scripted


def run(tmp_path: Path) -> int:
    return demo(DemoSettings(data_dir=tmp_path, table="other"))


def test_it_runs_the_sample_with_the_settings_that_were_given(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    assert run(tmp_path) == Exit.DONE
    (settings,) = pipeline.ran
    assert settings.sources == [str(tmp_path / "sample")]
    assert (settings.data_dir, settings.table) == (tmp_path, "other")
    assert settings.model_fields_set == {"sources", "data_dir", "table"}
    assert len(pipeline.asked) == 3


def test_a_run_that_failed_ends_it_with_the_same_code(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    pipeline.run_code = Exit.CHECK_FAILED
    assert run(tmp_path) == Exit.CHECK_FAILED
    assert not pipeline.asked


def test_it_shows_the_ledger_of_the_sample_alone(
    pipeline: ScriptedPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    assert "4 documents read = 2 produced + 2 dropped (redirect)\n" in capsys.readouterr().err


def test_a_shard_that_was_not_read_fails_it(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    del pipeline.progress["b"]
    with pytest.raises(CheckFailed, match="ledger"):
        run(tmp_path)


def test_a_ledger_that_does_not_balance_fails_it(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    pipeline.progress["b"].ledger.produced = 0
    with pytest.raises(CheckFailed, match="ledger"):
        run(tmp_path)


def test_a_table_that_is_not_complete_fails_it(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    pipeline.complete = False
    with pytest.raises(CheckFailed):
        run(tmp_path)


@pytest.mark.parametrize("found", ["Alabama", ""])
def test_another_article_first_fails_it_and_is_named(pipeline: ScriptedPipeline, tmp_path: Path, found: str) -> None:
    pipeline.titles[QUESTIONS[1].text] = found
    with pytest.raises(CheckFailed, match=f"found {found or 'nothing'}, not {QUESTIONS[1].expected}"):
        run(tmp_path)
    assert len(pipeline.asked) == 3


def test_a_leg_of_a_search_that_failed_fails_it(pipeline: ScriptedPipeline, tmp_path: Path) -> None:
    pipeline.legs = [LegReport(name="text", state="failed", why="a corrupt file")]
    with pytest.raises(CheckFailed, match="the text leg failed: a corrupt file"):
        run(tmp_path)


def test_no_question_gives_its_answer_away() -> None:
    for question in QUESTIONS:
        assert not set(question.expected.lower().split()) & set(question.text.lower().split())
