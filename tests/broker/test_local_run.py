"""The local runner with real processes on a real Kafka."""

from __future__ import annotations

import bz2
import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from deploy.local.claim import owner_of
from deploy.local.report import RunReport
from deploy.local.tidy import run_claim_path
from pipeline.announcements import announced
from tests.conftest import SettingsEnv
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TITLES = ("Lighthouse", "Harbour", "Tide table")


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A shard of three pages and a redirect."""
    lines: list[object] = []
    for page_id, title in enumerate((*TITLES, "Light house"), start=1):
        kind = "redirect" if title == "Light house" else "primary"
        text = f"{title} is what this page is about. It says little else, and ends here."
        lines.append({"index": {"_id": page_id}})
        lines.append(
            {"page_id": page_id, "page_type": kind, "wiki": "testwiki", "namespace": 0, "title": title, "text": text}
        )
    path = tmp_path / "testwiki_content-20261115-00000.json.bz2"
    path.write_bytes(bz2.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


def start(dump: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deploy.local", "run", dump.name, "--json", *options]
    environment = {**environment, "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(
        command, cwd=dump.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(run: subprocess.Popen[str]) -> tuple[int, RunReport, str]:
    """Exit code, report, and what was said."""
    out, said = run.communicate(timeout=500)
    assert out.count("\n") == 1, f"one JSON document and nothing else: {out!r} {said}"
    return run.returncode, msgspec.json.decode(out, type=RunReport), said


def test_a_source_ends_in_the_table_and_a_second_run_embeds_nothing(dump: Path, settings_env: SettingsEnv) -> None:
    environment = settings_env()
    code, report, said = finish(start(dump, environment))
    assert (code, report.outcome, report.rows) == (0, "complete", len(TITLES)), said
    assert report.ledger.dropped == {"redirect": 1}
    assert report.stages["embed"].chunks == len(TITLES)
    assert "estimate: 3 pages, 3 rows" in said
    code, again, said = finish(start(dump, environment))
    assert (code, again.outcome, again.rows, again.pages_sent) == (0, "complete", len(TITLES), 0), said
    assert again.stages["embed"].chunks == 0
    assert again.ledger == report.ledger
    assert len(list((dump.parent / "reports").glob("run-*.md"))) == 2


def test_notes_of_ones_own_end_in_the_table_by_one_command(tmp_path: Path, settings_env: SettingsEnv) -> None:
    notes = tmp_path / "notes.jsonl"
    records = [{"nr": nr, "heading": title, "body": f"{title}, in a word."} for nr, title in enumerate(TITLES)]
    notes.write_text("\n".join([*map(json.dumps, records), "no record", ""]))
    fields = ("--wiki", "notes", "--id-field", "nr", "--title-field", "heading", "--text-fields", "body")
    code, report, said = finish(start(notes, settings_env(), *fields, "--ready-seconds", "0"))
    assert (code, report.outcome, report.rows) == (0, "complete", len(TITLES)), said
    assert (report.ledger.read, report.ledger.malformed) == (len(TITLES) + 1, {"not_json": 1})
    assert "estimate: 3 pages, 3 rows" in said


def test_a_stage_that_cannot_work_ends_the_run_which_says_which_and_why(dump: Path, settings_env: SettingsEnv) -> None:
    (dump.parent / "not-a-folder").write_text("")
    code, report, said = finish(start(dump, settings_env(lance_uri=dump.parent / "not-a-folder" / "lance")))
    assert (code, report.outcome, report.stages["lance"].restarts) == (1, "failed", 2), said
    assert "lance-0 ended with code 70 after 3 starts" in report.problem
    assert "not-a-folder" in report.problem
    assert "lance-0.log" in said


def test_kill_9_of_the_runner_leaves_no_process(dump: Path, settings_env: SettingsEnv) -> None:
    run = start(dump, settings_env(), "--follow")
    folder = dump.parent / "run" / "announce"
    wait_until(lambda: "chunk" in {process.service for process in announced(folder)}, "the chunker is up", 120)
    family = psutil.Process(run.pid).children(recursive=True)
    assert len(family) >= 6, "three workers, and the guard of each"
    run.send_signal(signal.SIGKILL)
    run.wait(60)
    wait_until(lambda: not any(alive(process) for process in family), "all of them are gone")
    assert owner_of(run_claim_path(dump.parent)) is None


def test_sigterm_stops_everything_in_order_and_the_same_command_goes_on(dump: Path, settings_env: SettingsEnv) -> None:
    run = start(dump, settings_env())
    folder = dump.parent / "run" / "announce"
    wait_until(lambda: "chunk" in {process.service for process in announced(folder)}, "the chunker is up", 120)
    family = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGTERM)
    code, report, said = finish(run)
    assert (code, report.outcome) == (130, "stopped"), said
    assert not any(alive(process) for process in family)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
