"""Libraries' log lines that are no news are not shown; others are."""

from __future__ import annotations

import logging

import pytest

from pipeline import logs


def test_a_connection_that_was_closed_on_purpose_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log = logging.getLogger("kafka.net.transport")
    for error in (AttributeError("'NoneType' object has no attribute 'recv'"), OSError("connection reset")):
        try:
            raise error
        except (AttributeError, OSError):
            log.exception("%s: Error receiving network data closing socket", "broker-1")
    said = capsys.readouterr().err
    assert "connection reset" in said
    assert "NoneType" not in said
