"""A table that commit 8c9e2ef made: taken over, written to, and refused by it in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import older
from tests.tables import contents, deletion, embedded, takeover, texts

MAKE = """
from tests.tables import deletion, embedded, new_table
from pathlib import Path
import sys
table = new_table(Path(sys.argv[1]))
table.write([embedded("enwiki:1", 1, 3), embedded("enwiki:2", 2, 2), embedded("enwiki:3", 3, 1)], {0: 4})
table.write([deletion("enwiki:3", 4), embedded("enwiki:2", 5, 1)], {0: 6})
"""

REFUSED = """
from pipeline.errors import Fatal
from tests.tables import takeover
from pathlib import Path
import sys
try:
    takeover(Path(sys.argv[1]))
except Fatal as error:
    assert "written by a newer Cirrostream (fence schema 2); upgrade this one" in str(error), error
else:
    raise AssertionError("it was taken over")
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return older.unpack(tmp_path_factory.mktemp("older"))


def run(code: Path, program: str, folder: Path) -> None:
    """Runs a program on the older code; its own tests' helpers make the pages."""
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(
        command, env=older.environment(code), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_older_table_is_taken_over_written_to_and_refused_by_the_older_code(code: Path, tmp_path: Path) -> None:
    run(code, MAKE, tmp_path)
    table = takeover(tmp_path)
    assert table.fence.offsets == {0: 6}
    table.write([embedded("enwiki:3", 3, 1), embedded("enwiki:2", 4, 2)], {0: 7})
    assert sorted(contents(table)) == ["enwiki:1", "enwiki:2"], "what it had deleted or replaced stays so"
    table.write([embedded("enwiki:4", 7, 2), deletion("enwiki:9", 8)], {0: 9})
    run(code, REFUSED, tmp_path)
    again = takeover(tmp_path)
    assert again.fence.offsets == {0: 9}
    assert contents(again)["enwiki:4"] == texts(embedded("enwiki:4", 7, 2))
