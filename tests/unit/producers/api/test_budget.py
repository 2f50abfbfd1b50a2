"""Requests a minute, counted over all processes that share a data folder."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from producers.api.budget import EDITOR, NAMED, Budget, budget_for

WIKIPEDIA = "https://simple.wikipedia.org/w/api.php"
TAKE = """
import sys
from pathlib import Path
from producers.api.budget import Budget
budget = Budget(Path(sys.argv[1]), 200)
print(sum(budget.take() > 0 for _ in range(50)))
"""


def test_a_minute_holds_no_more_requests_than_are_allowed_whoever_makes_them(tmp_path: Path) -> None:
    now = 1_000.0
    two = [Budget(tmp_path / "wikimedia", 200, lambda: now) for _ in range(2)]
    waits = [two[number % 2].take() for number in range(400)]
    assert waits == sorted(waits)
    assert sum(wait < 60 for wait in waits) in range(180, 201)


def test_who_asks_seldom_never_waits(tmp_path: Path) -> None:
    times = iter(float(second) for second in range(1_000, 2_000))
    budget = Budget(tmp_path / "wikimedia", 200, lambda: next(times))
    assert {budget.take() for _ in range(500)} == {0.0}


def test_processes_share_one_budget(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "wikimedia")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=60)[0].strip()
    budget = Budget(tmp_path / "wikimedia", 200)
    assert budget.take() > 150 * 0.3 - 35, "150 turns were taken, and starting the processes took seconds"


@pytest.mark.parametrize(
    "stored", [b"", b"x", b"\xff" * 8, b"\0\0\0\0\0\0\xf0\x7f"], ids=["empty", "short", "nan", "inf"]
)
def test_a_file_that_says_nothing_is_begun_anew(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "wikimedia").write_bytes(stored)
    assert Budget(tmp_path / "wikimedia", 200, lambda: 1_000.0).take() == 0


def test_a_clock_that_was_set_back_does_not_stop_requests_for_a_day(tmp_path: Path) -> None:
    Budget(tmp_path / "wikimedia", 200, lambda: 100_000.0).take()
    assert Budget(tmp_path / "wikimedia", 200, lambda: 1_000.0).take() == 0


def test_a_folder_that_cannot_be_had_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UsageError, match="requests to a wiki are counted there"):
        Budget(tmp_path / "data" / "requests" / "wikimedia", 200).take()


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.ENOSPC], ids=["no locks", "no room"])
def test_a_file_that_cannot_be_locked_or_written_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def failing(*_: object) -> int:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(*((fcntl, "flock") if fault == errno.ENOLCK else (os, "pwrite")), failing)
    with pytest.raises(UsageError, match=f"counted there: {os.strerror(fault)}"):
        Budget(tmp_path / "wikimedia", 200).take()


def spaced(budget: Budget | None) -> float:
    """Seconds between two turns; of so many that a machine that is busy meanwhile makes no difference."""
    assert budget is not None
    return [budget.take() for _ in range(501)][-1] / 500


def test_wikimedia_counts_a_client_over_all_its_wikis(tmp_path: Path) -> None:
    for url in (WIKIPEDIA, "https://commons.wikimedia.org/w/api.php", "https://www.wikidata.org/w/api.php"):
        budget = budget_for(url, tmp_path)
        assert budget is not None
        budget.take()
    assert [file.name for file in (tmp_path / "requests").iterdir()] == ["wikimedia"]
    assert stat.S_IMODE((tmp_path / "requests" / "wikimedia").stat().st_mode) & 0o022 == 0
    for url in ("https://wiki.example.org/api.php", "https://wikipedia.org.example.org/api.php"):
        other = budget_for(url, tmp_path)
        assert other is not None
        assert other.take() == 0, "another server has a budget of its own"


def test_an_editors_account_may_ask_more_often_and_a_bots_as_often_as_it_can(tmp_path: Path) -> None:
    assert spaced(budget_for(WIKIPEDIA, tmp_path)) == pytest.approx(60 / NAMED, rel=0.2)
    assert spaced(budget_for(WIKIPEDIA, tmp_path, 7, frozenset({"user"}))) == pytest.approx(60 / NAMED, rel=0.2)
    editor = budget_for(WIKIPEDIA, tmp_path, 8, frozenset({"user", "autoconfirmed"}))
    assert spaced(editor) == pytest.approx(60 / EDITOR, rel=0.2)
    assert budget_for(WIKIPEDIA, tmp_path, 9, frozenset({"bot"})) is None


def test_a_wiki_on_this_machine_is_asked_without_a_budget(tmp_path: Path) -> None:
    assert budget_for("http://127.0.0.1:8080/w/api.php", tmp_path) is None
    assert budget_for("http://[::1]/w/api.php", tmp_path) is None
