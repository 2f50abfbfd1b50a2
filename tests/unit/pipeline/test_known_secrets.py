"""No secret that a process was given is in anything that it writes, however it is spelled there."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.addresses import passwords_in
from pipeline.known_secrets import KnownSecrets, is_secret_name, secrets_of_environment
from pipeline.logs import _LoginFilter

SECRET = "s3cr\\t/+'\"ü &tail"


def hidden(text: str, *secrets: str) -> str:
    known = KnownSecrets()
    known.learn(secrets)
    return known.hide(text)


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        repr({"sasl_plain_password": SECRET}),
        repr(f"\0user\0{SECRET}".encode()),
        ascii(SECRET),
        json.dumps({"event": SECRET}),
        json.dumps({"event": SECRET}, ensure_ascii=False),
        json.dumps({"event": repr(SECRET)}),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET).lower().replace("%c3%bc", "%c3%bc"),
        SECRET.encode().hex(),
        *(base64.b64encode(b"u" * n + b":" + SECRET.encode() + b"!").decode() for n in range(3)),
        *(base64.urlsafe_b64encode(b"\0" * n + SECRET.encode()).decode() for n in range(3)),
    ],
)
def test_a_secret_is_hidden_however_it_is_spelled(spelled: str) -> None:
    assert "***" in hidden(f"before {spelled} after", SECRET)
    assert "tail" not in hidden(f"before {spelled} after", SECRET)


@given(secret=st.text(min_size=6, max_size=40), before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_no_base64_with_a_secret_in_it_can_be_decoded_to_it(secret: str, before: bytes, after: bytes) -> None:
    raw = secret.encode("utf-8", "surrogatepass")
    assert "***" in hidden(base64.b64encode(before + raw + after).decode(), secret)


def test_each_line_of_a_key_counts() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----"
    assert hidden("line 2: MC4CAQAwBQYDK2VwBCIEIA==", key) == "line 2: ***"
    assert hidden("-----BEGIN PRIVATE KEY-----", key) == "-----BEGIN PRIVATE KEY-----"


def test_what_is_no_secret_stays() -> None:
    assert hidden("abc is here", "abc") == "abc is here"  # shorter than a secret can be
    assert KnownSecrets().hide("a line") == "a line"


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA_SASL_PASSWORD",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_KEY",
        "MY_API_KEY",
    ],
)
def test_secrets_are_known_by_the_name_of_their_variable(name: str) -> None:
    assert is_secret_name(name)
    assert secrets_of_environment({name: "hunter2-hunter2"}) == {"hunter2-hunter2"}


@pytest.mark.parametrize(
    "name", ["KAFKA_SSL_KEYFILE", "AWS_ACCESS_KEY_ID", "CIRROSTREAM_WINDOW_TOKENS", "HF_TOKEN_PATH", "PATH"]
)
def test_other_variables_hold_none(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_in_the_files_of_the_hub_and_of_aws_are_known(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_secret_access_key = hunter2-aws\n")
    (tmp_path / "token").write_text("hf_hunter2\n")
    found = secrets_of_environment({"HOME": str(tmp_path), "HF_HOME": str(tmp_path)})
    assert found == {"hunter2-aws", "hf_hunter2"}


def test_passwords_of_addresses_are_known_and_other_parts_are_not() -> None:
    assert passwords_in('["http://me:p%40ssword@proxy:1", "https://h/x?date=20260101&token=hunter2"]') == {
        "p%40ssword",
        "p@ssword",
        "hunter2",
    }


@pytest.mark.parametrize(
    "said",
    [
        "<conn> Request 3: SaslAuthenticateRequest(auth_bytes=b'n,,n=user,r=nonce')",
        "Starting KafkaAdminClient with configuration: {'sasl_plain_password': 'x'}",
        "Request 9: AlterUserScramCredentialsRequest(salted_password=b'123')",
    ],
)
def test_a_line_that_is_made_of_a_login_is_not_shown(said: str) -> None:
    record = logging.LogRecord("kafka", logging.DEBUG, "", 1, "%s", (said,), None)
    assert _LoginFilter().filter(record)
    assert record.getMessage().startswith("(not shown: a line with ")


SPEAKER = """
import logging, sys, threading, warnings
import structlog
from pipeline import logs
logs.configure()
secret = "hunter2-hunter2"
structlog.get_logger().info("ours", of=secret, nested={"a": [secret]})
logging.getLogger("kafka").debug("theirs %s", {"x": secret})
logging.getLogger("http").debug("Authorization: Bearer abcdefghijklmnop")
try:
    raise ValueError(secret)
except ValueError:
    logging.getLogger("kafka").exception("failed")
thread = threading.Thread(target=lambda: (_ for _ in ()).throw(ValueError(secret)))
thread.start(); thread.join()
warnings.warn(secret)
print("printed", secret, file=sys.stderr)
raise RuntimeError(secret)
"""


def test_neither_log_lines_nor_tracebacks_nor_warnings_hold_a_secret() -> None:
    environment = {**os.environ, "KAFKA_SASL_PASSWORD": "hunter2-hunter2", "CIRROSTREAM_LOG_LEVEL": "DEBUG"}
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    said = done.stdout + done.stderr
    assert "hunter2" not in said.replace('secret = "hunter2-hunter2"', "")
    assert "abcdefghijklmnop" not in said
    for event in ("ours", "theirs", "failed", "printed", "RuntimeError"):
        assert event in said
