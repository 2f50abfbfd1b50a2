"""One owner a data folder; stopping it, and emptying it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import tidy
from deploy.local.claim import Claim, Claimed, owner_of
from deploy.local.running import running_kafka
from deploy.local.tidy import reset_data, run_claim_path, stop_all
from pipeline.errors import UsageError
from pipeline.kafka import bootstrap_file
from tests.waiting import wait_until

OWNER = """
import signal, sys, time
from pathlib import Path
from deploy.local.claim import Claim
claim = Claim(Path(sys.argv[1]))
print("mine", flush=True)
time.sleep(600)
"""


def other_owner(claim: Path) -> subprocess.Popen[str]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(claim)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline().strip() == "mine"
    return owner


def test_a_claim_is_refused_to_a_second_and_free_again_after_kill_9(tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    owner = other_owner(claim)
    assert owner_of(claim) == owner.pid
    with pytest.raises(Claimed, match=f"process {owner.pid}"):
        Claim(claim)
    owner.send_signal(signal.SIGKILL)
    owner.wait(60)
    assert owner_of(claim) is None
    mine = Claim(claim)
    assert owner_of(claim) == os.getpid()
    mine.release()


def test_a_child_that_was_given_the_claim_holds_it_when_its_owner_is_gone(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "claim")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[claim.fileno()])
    claim.release()
    with pytest.raises(Claimed):
        Claim(tmp_path / "claim")
    child.communicate(b"\n", timeout=60)
    Claim(tmp_path / "claim").release()


def test_an_address_file_without_an_owner_is_a_dead_brokers(tmp_path: Path) -> None:
    bootstrap_file(tmp_path).parent.mkdir(parents=True)
    bootstrap_file(tmp_path).write_text("127.0.0.1:9092\n")
    assert running_kafka(tmp_path) is None


def test_stop_ends_the_owner_and_says_what_it_was(tmp_path: Path) -> None:
    owner = other_owner(run_claim_path(tmp_path))
    assert stop_all(tmp_path) == ["the run"]
    wait_until(lambda: owner.poll() is not None, "the owner has ended")
    assert owner.returncode == -signal.SIGTERM
    assert stop_all(tmp_path) == []


def test_stop_signals_no_stranger_who_has_a_dead_owners_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker of a killed owner holds the claim for a moment; the owner's process id may be anybody's by then."""
    monkeypatch.setattr(tidy, "END_SECONDS", 0.2)
    claim = run_claim_path(tmp_path)
    owner = other_owner(claim)
    os.utime(claim, (1, 1))
    with pytest.raises(Exception, match="has not ended"):
        stop_all(tmp_path)
    assert owner.poll() is None
    owner.kill()
    owner.wait(60)


def test_reset_deletes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    for name in ("kafka", "lance", "logs", "prometheus", "sample", "downloads"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    with pytest.raises(UsageError, match="--yes"):
        reset_data(tmp_path, really=False)
    assert (tmp_path / "lance" / "file").exists()
    assert reset_data(tmp_path, really=True) == [tmp_path / name for name in ("kafka", "lance", "logs", "prometheus")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads", "sample"]
    assert reset_data(tmp_path, really=True) == []


def test_reset_is_refused_while_something_runs(tmp_path: Path) -> None:
    owner = other_owner(run_claim_path(tmp_path))
    (tmp_path / "lance").mkdir()
    with pytest.raises(Claimed):
        reset_data(tmp_path, really=True)
    assert (tmp_path / "lance").exists()
    owner.kill()
    owner.wait(60)
