"""The script that makes certificates and passwords for compose.tls.yaml."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.composed import BASE, FOLDER, project
from tests.deployed import check_environment
from tests.programs import needed


def verified(secrets: Path, *wanted: str) -> bool:
    command = ["openssl", "verify", "-CAfile", str(secrets / "ca.crt"), *wanted, str(secrets / "kafka.pem")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_secrets_fit_together_and_only_their_owner_reaches_them(tmp_path: Path) -> None:
    needed("openssl", "install the package openssl")
    shutil.copy(FOLDER / "make-secrets.sh", tmp_path)
    script = tmp_path / "make-secrets.sh"
    said = subprocess.run([script, "192.0.2.7"], capture_output=True, text=True, check=True).stdout
    secrets = tmp_path / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert (secrets / "ca.key").stat().st_mode & 0o777 == 0o600
    assert verified(secrets, "-verify_ip", "192.0.2.7")
    worker = dict(line.split("=", 1) for line in (secrets / "worker.env").read_text().splitlines())
    check_environment("deploy.local workers", worker)
    assert worker["KAFKA_BOOTSTRAP_SERVERS"] == "192.0.2.7:9094"
    password = (secrets / "password").read_text().strip()
    assert worker["KAFKA_SASL_PASSWORD"] == password
    assert len(password) == 64
    assert password not in said

    subprocess.run([script, "kafka.example.org"], capture_output=True, check=True)
    assert (secrets / "password").read_text().strip() == password, "hosts that run would be locked out"
    assert verified(secrets, "-verify_hostname", "kafka.example.org")
    mounted = {Path(s["file"]).name for s in project(BASE, "compose.tls.yaml")["secrets"].values()}
    assert mounted <= {path.name for path in secrets.iterdir()}


@pytest.mark.parametrize("host", ["", "two words", "-x", "host/path", "a\nb"])
def test_a_host_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, host: str) -> None:
    shutil.copy(FOLDER / "make-secrets.sh", tmp_path)
    done = subprocess.run([tmp_path / "make-secrets.sh", host], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert not (tmp_path / "secrets").exists()
