"""The folder in which processes say where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.announcements import Announced, announce, announced, withdraw


def test_what_is_announced_is_found_until_it_is_withdrawn(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    one, two = Announced("embed", 2, "127.0.0.1:1"), Announced("lance", 22, "127.0.0.1:2")
    assert [announce(folder, process).read_bytes() != b"" for process in (one, two)] == [True, True]
    assert announced(folder) == [one, two]
    withdraw(folder, 2)
    assert announced(folder) == [two]
    withdraw(folder, 2)


def test_a_half_written_announcement_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "embed-1.json").write_text('{"service": "emb')
    (tmp_path / "embed-2.json").write_text(json.dumps({"service": "embed", "pid": 2, "address": "127.0.0.1:1"}))
    assert announced(tmp_path) == [Announced("embed", 2, "127.0.0.1:1")]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        announce(tmp_path / "file" / "folder", Announced("embed", 1, "127.0.0.1:1"))
