"""Leases in an object store: a version is held there too, with the table's own credentials and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipeline.errors import TryAgain
from pipeline.settings import TableSettings
from sinks.clean_up import clean_up
from sinks.pinned import pinned
from sinks.storage import connect
from sinks.table import Table
from sinks.verify.rows import batches
from tests.s3_server import Bucket, s3_server
from tests.tables import FENCE, RULE, embedded

LOCATION = "s3://bucket/lance"

pytestmark = pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with s3_server() as (address, found):
        for name, value in {
            "AWS_ENDPOINT": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield found


def leases(bucket: Bucket) -> list[str]:
    return [key for key in bucket.objects if key.startswith("lance/wikipedia.leases/") and key.endswith(".json")]


def goes_on(table: Table, offset: int) -> None:
    """The writer replaces all pages, and cleans up."""
    table.write([embedded(f"w:{n}", offset, 5) for n in range(20)], {0: offset})
    clean_up(table.lance, timedelta(0), 100)


def test_a_reader_of_a_bucket_sees_one_version_beside_a_writer_that_cleans_up(bucket: Bucket) -> None:
    table = Table.create(connect(LOCATION), "wikipedia", FENCE, RULE)
    goes_on(table, 1)
    with pinned(TableSettings(lance_uri=LOCATION), "test") as reader:
        assert len(leases(bucket)) == 1
        for offset in (2, 3):
            goes_on(table, offset)
            assert {row for batch in batches(reader, ["source"]) for row in batch["source"].to_pylist()} == {1}
    assert leases(bucket) == []
    goes_on(table, 4)
    assert len(table.lance.list_versions()) == 1


def test_a_reader_that_may_not_write_in_the_bucket_ends_when_its_version_goes(bucket: Bucket) -> None:
    table = Table.create(connect(LOCATION), "wikipedia", FENCE, RULE)
    goes_on(table, 1)
    bucket.read_only = True
    with pinned(TableSettings(lance_uri=LOCATION), "test") as reader:
        bucket.read_only = False
        assert reader.live_rows() == 100
        goes_on(table, 2)
        with pytest.raises(TryAgain, match=r"this user could not write a lease on it .*ACCESS_DENIED"):
            list(batches(reader, ["text"]))
