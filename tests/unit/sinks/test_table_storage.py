"""A full or read-only disk: one clear line, nothing half done, and on with it once there is room."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import Fatal
from pipeline.library_errors import LibraryError
from sinks.storage import connect, storage_fault
from tests import ROOT
from tests.tables import contents, embedded, new_table, takeover, texts

WRITE_LARGE_BATCH = """
import resource, sys
from pathlib import Path
from pipeline.errors import Fatal
from tests.tables import embedded, takeover
table = takeover(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # stands in for a full disk: writes fail half-way
try:
    table.write([embedded(f"enwiki:{n}", n, 20) for n in range(1, 200)], {0: 200})
except Fatal as error:
    print(error)
"""

WRITE_READ_ONLY = """
import os, sys
from pathlib import Path
from pipeline.errors import Fatal
from tests.tables import embedded, takeover
if os.getuid() == 0:
    os.setuid(65534)
try:
    takeover(Path(sys.argv[1])).write([embedded("enwiki:2", 2, 1)], {0: 3})
except Fatal as error:
    print(error)
"""


def run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_batch_that_finds_no_room_is_not_half_written(tmp_path: Path) -> None:
    first = embedded("enwiki:1", 0, 2)
    new_table(tmp_path).write([first], {0: 1})
    said = run(WRITE_LARGE_BATCH, tmp_path)
    assert said.startswith("table wikipedia: the file system or a limit")
    assert said.count("\n") == 1
    again = takeover(tmp_path)
    assert contents(again) == {"enwiki:1": texts(first)}
    assert again.fence.offsets == {0: 1}
    again.write([embedded("enwiki:1", 5, 1)], {0: 6})
    assert contents(again) == {"enwiki:1": texts(embedded("enwiki:1", 5, 1))}


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can reach: root, as CI often is, could write anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_may_not_be_written_to_is_refused_in_one_line(public_folder: Path) -> None:
    new_table(public_folder).write([embedded("enwiki:1", 0, 2)], {0: 1})
    folders = [path for path in public_folder.rglob("*") if path.is_dir()]
    try:
        for path in folders:
            path.chmod(0o555)
        said = run(WRITE_READ_ONLY, public_folder)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert "this user may not write there" in said
    assert said.count("\n") == 1
    assert takeover(public_folder).fence.offsets == {0: 1}


def test_a_place_that_cannot_have_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Fatal, match="CIRROSTREAM_LANCE_URI"):
        connect(str(tmp_path / "file" / "lance"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("IO error: No space left on device (os error 28)", "disk is full"),
        ("Read-only file system (os error 30)", "read-only"),
        ("Not found: db/x.lance/_versions, commit.rs:653", "vanished"),
    ],
)
def test_what_the_operator_must_mend_is_named(error: str, says: str) -> None:
    assert says in str(storage_fault("x", LibraryError(RuntimeError(error))))


def test_a_file_of_an_old_version_that_was_cleaned_up_is_no_fault() -> None:
    assert storage_fault("x", LibraryError(RuntimeError("Not found: db/x.lance/data/abc.lance"))) is None
