"""A record whose header has a name that is no UTF-8 is read like any other, and its neighbours too."""

from __future__ import annotations

import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from pipeline.header_names import read_any_header_name


class Raw(str):
    """A name as a client in C may send it."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"stag\xff\xfe"


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the library's own way back at the end."""
    monkeypatch.setattr(DefaultRecordBatch, "_read_msg", DefaultRecordBatch._read_msg)


def batch(compression: int) -> DefaultRecordBatch:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 5, b"k0", b"\xff", [("stage", b"embed")])
    builder.append(1, 6, None, None, [("a", None), (Raw("stag"), b"\xff\xfe"), ("b", b"x" * 300)])
    builder.append(2, 7, b"k2", b"stag\xff\xfe", [])
    return DefaultRecordBatch(bytes(builder.build()))


@pytest.mark.parametrize("compression", [0, 1], ids=["none", "gzip"])
@pytest.mark.usefixtures("strict")
def test_a_header_name_that_is_no_utf8_ends_no_consumer(compression: int) -> None:
    read_any_header_name()
    records = list(batch(compression))
    assert [(r.offset, r.key, r.value) for r in records] == [
        (0, b"k0", b"\xff"),
        (1, None, None),
        (2, b"k2", b"stag\xff\xfe"),
    ]
    assert records[0].headers == [("stage", b"embed")]
    assert records[1].headers == [("a", None), ("stag??", b"\xff\xfe"), ("b", b"x" * 300)]
