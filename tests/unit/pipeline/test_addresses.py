"""No password, key or token of an address is shown or stored."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deploy.local import outcome
from deploy.local import report as reports
from deploy.local.outcome import Outcome, ReportBuilder
from deploy.local.run_settings import RunSettings
from deploy.local.stages import producer_plan
from pipeline.addresses import without_secrets
from pipeline.errors import CheckFailed
from pipeline.offsets import TopicLog
from pipeline.topics import CorpusTopics
from producers.cirrus import CIRRUS_NAMES, app
from producers.fetch.store import find_remote
from producers.run.queue import LocalQueue


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:hunter2@host/path/f.json", "https://***@host/path/f.json"),
        ("https://hunter2@host:8443/x", "https://***@host:8443/x"),
        ("ftp://user:p@hunter2@host/x", "ftp://***@host/x"),
        ("s3://AKIA:hunter2/+x=@bucket/folder/a@b.bz2", "s3://***@b.bz2"),
        (
            "https://host/x?token=hunter2&X-Amz-Signature=hunter2#part",
            "https://host/x?token=***&X-Amz-Signature=***#part",
        ),
        ("https://host:9092/a@b?q", "https://host:9092/a@b?q"),
        ("s3://bucket/folder/a@b.bz2", "s3://bucket/folder/a@b.bz2"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        (
            "2 of 3: a text with no address, 12:30 me@example.org",
            "2 of 3: a text with no address, 12:30 me@example.org",
        ),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
    assert without_secrets(f"cannot read '{address}': gone") == f"cannot read '{shown}': gone"
    assert without_secrets(shown) == shown


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"<>`?#@/"), min_size=8)


@given(password=PASSWORDS)
def test_no_password_is_left_whatever_is_in_it(password: str) -> None:
    assert without_secrets(f"sftp://user:{password}x@host/x") == "sftp://***@host/x"


def test_what_a_library_says_of_an_address_has_no_secrets_either() -> None:
    said = without_secrets('Invalid bucket name "AKIA:hunter/2@bucket"', of="s3://AKIA:hunter/2@bucket/x")
    assert "hunter" not in said
    assert "hunter" not in without_secrets("login hunter 2 failed", of="ftp://u:hunter%202@host/x")


def test_our_errors_hold_no_secrets() -> None:
    assert str(CheckFailed("https://u:hunter2@host/x: gone")) == "https://***@host/x: gone"


@pytest.fixture
def own_logging() -> Iterator[None]:
    """A command logs to the stderr that it finds, which is gone when the test has ended."""
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    "arguments",
    [
        ["https://user:hunter2@host/dump"],
        ["s3://AKIA:hunter2@bucket/dump"],
        ["memory://user:hunter2@host/dump"],
        ["--mirror", "https://user:hunter2@host/dump"],
        ["nosuch://user:hunter2@host/dump?token=hunter2"],
        ["https://user:hunter2@host/dump", "s3://AKIA:hunter2@bucket/dump"],
    ],
)
def test_an_address_with_a_secret_is_refused_without_saying_it(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, arguments, env={"CIRROSTREAM_DATA_DIR": str(tmp_path)})
    assert done.exit_code in (2, 75)
    assert "hunter2" not in done.output
    assert "***@" in done.output


def test_keys_in_the_address_of_a_bucket_are_refused_with_the_way_to_give_them() -> None:
    with pytest.raises(Exception, match="AWS_ACCESS_KEY_ID"):
        find_remote("s3://AKIA:hunter2@bucket/dump", CIRRUS_NAMES)


SOURCE = "sftp://user:hunter2@host/dump?token=hunter2"


def test_a_run_gives_an_address_to_its_producer_and_to_nobody_who_reads_command_lines(tmp_path: Path) -> None:
    plan = producer_plan(RunSettings(sources=[SOURCE], data_dir=tmp_path), {}, tmp_path)
    assert not any("hunter2" in word for word in plan.command)
    assert json.loads(plan.environment["CIRROSTREAM_SOURCES"]) == [SOURCE]
    files = producer_plan(RunSettings(sources=["a.json", "b.json"], data_dir=tmp_path), {}, tmp_path)
    assert files.command[-2:] == ["a.json", "b.json"]


def test_a_runs_report_has_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "read_progress", lambda *_: {})
    settings = RunSettings(sources=[SOURCE], lance_uri=f"memory://user:hunter2@{tmp_path.name}", data_dir=tmp_path)
    corpus = CorpusTopics("pages", "progress", "letters")
    cluster: Any = SimpleNamespace(bootstrap="127.0.0.1:9092", log=lambda _: TopicLog("id", {0: 0}, {0: 1}))
    builder = ReportBuilder(cluster, corpus, settings, LocalQueue([]), datetime.now(UTC), 0, 0)
    model: Any = SimpleNamespace(tag="m")
    supervisor: Any = SimpleNamespace(stages=[])
    watcher: Any = SimpleNamespace(total=lambda _: SimpleNamespace(characters=0))
    report = builder.report(Outcome("failed", 1, f"produce: {SOURCE}: gone"), model, supervisor, watcher)
    path = reports.write(report, tmp_path, datetime.now(UTC))
    for file in (path, path.with_suffix(".json")):
        assert "hunter2" not in file.read_text()
        assert "sftp://***@host/dump?token=***" in file.read_text()


LOGGING = """
import logging
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from pipeline import logs
logs.configure()
import structlog
address = "https://user:hunter2@host/x?sig=hunter2"
structlog.get_logger().warning(address, at=address, all=[address], by={"a": address}, path=ValueError(address))
logging.getLogger("httpx").error("GET %s", address)
try:
    raise ValueError(address)
except ValueError:
    logging.getLogger("httpx").exception("failed")
    structlog.get_logger().exception("failed")
"""


def test_no_log_line_holds_the_secrets_of_an_address() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 4
    assert "hunter2" not in done.stderr
    assert done.stderr.count("https://***@host/x?sig=***") >= 7
