"""A table that commit 8c9e2ef made: taken over, written to, and given back to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lancedb.index import FTS, BTree, LabelList

from pipeline.settings import TableSettings
from sinks.downgrade import given_back
from sinks.table import Table
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


GO_ON = """
from tests.tables import contents, embedded, takeover
from pathlib import Path
import sys
table = takeover(Path(sys.argv[1]))
assert table.fence.offsets == {0: 9}, table.fence
table.write([embedded("enwiki:1", 9, 2)], {0: 10})
assert sorted(contents(table)) == ["enwiki:1", "enwiki:2", "enwiki:4"], contents(table)
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


def test_an_older_table_is_taken_over_filled_given_back_to_the_older_code_and_taken_over_again(
    code: Path, tmp_path: Path
) -> None:
    run(code, MAKE, tmp_path)
    table = takeover(tmp_path)
    assert table.fence.offsets == {0: 6}
    table.write([embedded("enwiki:3", 3, 1), embedded("enwiki:2", 4, 2)], {0: 7})
    assert sorted(contents(table)) == ["enwiki:1", "enwiki:2"], "what it had deleted or replaced stays so"
    table.write([embedded("enwiki:4", 7, 2), deletion("enwiki:9", 8)], {0: 9})
    assert [table.backfill(3), table.backfill(3), table.backfill(3)] == [3, 1, 0]
    assert_searched_by_words(table)

    run(code, REFUSED, tmp_path)
    assert given_back(TableSettings(lance_uri=str(tmp_path), _env_file=None)) == ()  # type: ignore[call-arg]
    run(code, GO_ON, tmp_path)

    again = takeover(tmp_path)
    assert again.fence.offsets == {0: 10}
    assert contents(again)["enwiki:1"] == texts(embedded("enwiki:1", 9, 2))
    assert contents(again)["enwiki:4"] == texts(embedded("enwiki:4", 7, 2))
    assert again.backfill(100) == 5
    assert_searched_by_words(again)


INDEXES = {
    "text_en": FTS(with_position=False),
    "name": BTree(),
    "facets": LabelList(),
    "categories": LabelList(),
    "popularity_score": BTree(),
}


def assert_searched_by_words(table: Table) -> None:
    """Every live row stands in the column of its language, under the index that a search by words needs."""
    for column, config in INDEXES.items():
        table.lance.create_index(column, config=config, replace=True)
    found = table.lance.search("chunk", fts_columns=["text_en"]).select(["id", "_score"]).limit(100).to_arrow()
    assert sorted(found["id"].to_pylist()) == sorted(
        f"{page}#{n}" for page, chunks in contents(table).items() for n in range(len(chunks))
    )
