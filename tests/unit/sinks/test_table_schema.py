"""Tables whose columns somebody has changed: what is kept, what is added again, and what is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import BTree
from lancedb.table import LanceTable

from deploy.doctor.context import Context
from deploy.doctor.findings import Finding, Verdict
from deploy.doctor.settings import DoctorSettings
from deploy.doctor.table import CHECKS
from pipeline.errors import CirrostreamError, Fatal, Replaced, UsageError
from pipeline.settings import TableSettings
from sinks.downgrade import given_back
from sinks.notebook import KEY
from sinks.reader import Reader
from sinks.rows import VectorRule, table_schema
from sinks.schema import checked, conformed
from sinks.search.nearest import nearest
from sinks.storage import connect
from sinks.table import Table
from tests.tables import DIMENSION, FENCE, RULE, contents, embedded, new_table, takeover, texts

NOTE = pa.field("note", pa.string())


def filled(folder: Path) -> Table:
    """A table with its indexes: with a BTREE, LanceDB panics at a merge of other columns than the table's."""
    table = new_table(folder)
    table.write([embedded("enwiki:1", 1, 3), embedded("enwiki:2", 2, 2)], {0: 3})
    for column in ("id", "page"):
        table.lance.create_index(column, config=BTree())
    return table


def of_user(folder: Path) -> LanceTable:
    opened = lancedb.connect(str(folder), read_consistency_interval=timedelta(0)).open_table("wikipedia")
    assert isinstance(opened, LanceTable)
    return opened


def column(folder: Path, name: str) -> dict[str, object]:
    rows = of_user(folder).search().select(["id", name]).to_arrow().to_pylist()
    return {row["id"]: row[name] for row in rows}


def reader(folder: Path) -> Reader:
    return Reader.open(TableSettings(lance_uri=str(folder), _env_file=None))  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [pa.string(), pa.struct([("a", pa.int32())]), pa.list_(pa.float32(), 4), pa.uuid()])
def test_a_column_that_a_user_adds_while_the_writer_runs_is_kept(tmp_path: Path, kind: pa.DataType) -> None:
    table = filled(tmp_path)
    of_user(tmp_path).add_columns(pa.schema([pa.field("note", kind)]))
    table.write([embedded("enwiki:1", 5, 2), embedded("enwiki:3", 6, 1)], {0: 7})
    takeover(tmp_path).write([embedded("enwiki:2", 8, 1)], {0: 9})
    assert contents(of_user(tmp_path)) == {
        page.key: texts(page)
        for page in (embedded("enwiki:1", 5, 2), embedded("enwiki:2", 8, 1), embedded("enwiki:3", 6, 1))
    }
    assert of_user(tmp_path).schema.field("note").type == kind


def test_what_a_user_noted_on_a_text_stays_with_it_and_ends_with_it(tmp_path: Path) -> None:
    table = filled(tmp_path)
    of_user(tmp_path).add_columns(pa.schema([NOTE]))
    of_user(tmp_path).update(values={"note": "mine"})
    table.write([embedded("enwiki:1", 5, 2), embedded("enwiki:2", 2, 2)], {0: 7})
    notes = column(tmp_path, "note")
    assert {notes["enwiki:1#0"], notes["enwiki:1#1"]} == {None}
    assert {notes["enwiki:2#0"], notes["enwiki:2#1"]} == {"mine"}


def test_a_release_that_knows_fewer_columns_goes_on_with_a_table_of_one_that_knows_more(tmp_path: Path) -> None:
    newer = table_schema(RULE).append(pa.field("folded_title", pa.string())).append(pa.field("folded_name", pa.int32()))
    assert checked(newer, "t").extra == ("folded_title", "folded_name")
    rows = conformed(table_schema(RULE).empty_table(), newer)
    assert rows.schema == newer


def test_a_describing_column_that_is_missing_is_added_again(tmp_path: Path) -> None:
    filled(tmp_path)
    of_user(tmp_path).drop_columns(["incoming_links", "title"])
    takeover(tmp_path).write([embedded("enwiki:1", 5, 1)], {0: 6})
    assert column(tmp_path, "title") == {
        "#fence": None,
        "enwiki:1#0": "enwiki:1",
        "enwiki:1#1": None,
        "enwiki:1#2": None,
        "enwiki:2#0": None,
        "enwiki:2#1": None,
    }
    assert "incoming_links" in of_user(tmp_path).schema.names


def test_a_column_dropped_under_a_writer_that_runs_is_added_again(tmp_path: Path) -> None:
    table = filled(tmp_path)
    of_user(tmp_path).drop_columns(["url"])
    table.write([embedded("enwiki:1", 5, 1)], {0: 6})
    assert column(tmp_path, "url")["enwiki:1#0"] == ""


def test_a_writer_that_was_replaced_adds_no_columns_to_a_table_that_an_older_version_has(tmp_path: Path) -> None:
    stale = filled(tmp_path)
    takeover(tmp_path).give_back(["text_en", "names"])
    version = of_user(tmp_path).version
    for change in (lambda: stale.write([embedded("enwiki:9", 9, 1)], {0: 10}), lambda: stale.backfill(10)):
        with pytest.raises(Replaced):
            change()
    assert of_user(tmp_path).version == version


def test_a_search_of_a_table_without_a_describing_column_shows_nothing_there(tmp_path: Path) -> None:
    filled(tmp_path)
    of_user(tmp_path).drop_columns(["title", "metadata"])
    hits = nearest(reader(tmp_path), np.ones(DIMENSION, np.float32), 10)
    assert {hit.title for hit in hits} == {""}
    assert len(hits) == 5


REFUSED: dict[str, tuple[Callable[[LanceTable], object], str]] = {
    "text dropped": (lambda t: t.drop_columns(["text"]), r"text is missing\. Go back to the version .*t\.restore\(\)"),
    "fence dropped": (lambda t: t.drop_columns(["fence"]), "fence is missing"),
    "source renamed": (lambda t: t.alter_columns({"path": "source", "rename": "src"}), "source is missing"),
    "type changed": (
        lambda t: t.alter_columns({"path": "text", "data_type": pa.large_string()}),
        "text is large_string instead of string",
    ),
    "no nulls": (
        lambda t: t.add_columns({"flag": "1"}),
        r"flag takes no nulls\. .*alter_columns\(\{'path': 'flag', 'nullable': True\}\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_lived_with_is_refused_alike_by_all_who_open_the_table(tmp_path: Path, case: str) -> None:
    change, says = REFUSED[case]
    table = filled(tmp_path)
    change(of_user(tmp_path))
    with pytest.raises(Fatal, match=says):
        table.write([embedded("enwiki:1", 5, 1)], {0: 6})
    with pytest.raises(Fatal, match=says):
        takeover(tmp_path)
    with pytest.raises(Fatal, match=says):
        reader(tmp_path)
    assert_doctor_says(tmp_path, says)


def test_another_programs_table_is_refused_once_by_all_who_open_it(tmp_path: Path) -> None:
    lancedb.connect(str(tmp_path)).create_table("wikipedia", [{"id": 1, "text": "a", "vector": [0.5, 0.5]}])
    says = "another program's: it has the columns id, text, vector, and none of the name page, n"
    with pytest.raises(UsageError, match=says):
        takeover(tmp_path)
    with pytest.raises(UsageError, match=says):
        new_table(tmp_path)
    with pytest.raises(UsageError, match=says):
        reader(tmp_path)
    assert_doctor_says(tmp_path, says)


def test_vectors_of_another_type_than_the_fence_says_are_refused(tmp_path: Path) -> None:
    table = filled(tmp_path)
    with pytest.raises(Fatal, match=r"vector is fixed_size_list<item: float>\[8\] instead of"):
        checked(table.lance.schema, "t", VectorRule(DIMENSION, "f16"))
    other = table.lance.schema.set(table.lance.schema.names.index("vector"), pa.field("vector", pa.list_(pa.float32())))
    with pytest.raises(Fatal, match="vector is list<item: float>"):
        checked(other, "t")


def test_a_table_as_the_first_release_made_it_differs_in_nothing(tmp_path: Path) -> None:
    columns = checked(filled(tmp_path).lance.schema, "t", RULE)
    assert (columns.missing, columns.extra) == ((), ())


def assert_doctor_says(folder: Path, says: str) -> None:
    with pytest.raises(CirrostreamError, match=says):
        look(folder)


def look(folder: Path) -> Finding:
    check = next(check for check in CHECKS if check.name == "table.fence")
    context = Context(DoctorSettings(lance_uri=str(folder), _env_file=None))  # type: ignore[call-arg]
    context.model = Model()  # type: ignore[assignment]
    return check.look(context)


class Model:
    """What the check asks of the model's files."""

    tag = "minilm-1"
    dimension = DIMENSION


def test_the_doctor_says_what_has_become_of_columns_and_tags(tmp_path: Path) -> None:
    filled(tmp_path)
    of_user(tmp_path).add_columns(pa.schema([NOTE]))
    assert look(tmp_path).verdict is Verdict.OK
    assert "kept and empty in the rows that the sink writes: note" in look(tmp_path).found
    of_user(tmp_path).tags.create("mine", 2)  # type: ignore[no-untyped-call]
    assert "tags keep every old version on disk: mine" in look(tmp_path).found
    of_user(tmp_path).drop_columns(["title"])
    assert look(tmp_path).verdict is Verdict.WARN
    assert "lacks the columns title" in look(tmp_path).found


def test_a_table_with_lancedbs_note_on_its_model_is_not_given_back(tmp_path: Path) -> None:
    database = connect(str(tmp_path))
    table = Table.create(database, "wikipedia", FENCE, RULE, metadata={KEY: "[]"})
    with pytest.raises(UsageError, match="made by this version, and no older one can write it"):
        given_back(TableSettings(lance_uri=str(tmp_path), _env_file=None))  # type: ignore[call-arg]
    table.write([embedded("enwiki:1", 1, 1)], {0: 2})
    assert "derived" in of_user(tmp_path).schema.names
