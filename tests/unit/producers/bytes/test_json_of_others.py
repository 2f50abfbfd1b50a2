"""JSON that others write costs at most the value that is wrong in it."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rejected import Rejected
from producers.bytes.lines import mend_json
from producers.jsonl import read_object


@pytest.mark.parametrize(
    ("written", "value", "notes"),
    [
        (b'{"a": 1, "b": NaN}', {"a": 1, "b": None}, ["bad_number"]),
        (b'{"a": [Infinity, -Infinity, 2.5]}', {"a": [None, None, 2.5]}, ["bad_number"]),
        (b'{"a": "NaN and \\"Infinity\\""}', {"a": 'NaN and "Infinity"'}, []),
        (b'{"a": -' + b"7" * 5_000 + b', "b": 2}', {"a": None, "b": 2}, ["bad_number"]),
        (b'{"a": "' + b"7" * 5_000 + b'", "b": NaN}', {"a": "7" * 5_000, "b": None}, ["bad_number"]),
        (b'{"a": 1e400, "b": [-2E+999, 2e30]}', {"a": None, "b": [None, 2e30]}, ["bad_number"]),
        (b'{"a": ' + b"7" * 5_000 + b'.5, "b": 2}', {"a": None, "b": 2}, ["bad_number"]),
        (b'{"a": "1e400", "b": NaN}', {"a": "1e400", "b": None}, ["bad_number"]),
        (b'{"a": 0.' + b"3" * 5_000 + b', "b": NaN}', {"a": 1 / 3, "b": None}, ["bad_number"]),
        (b'{"a": 1e-' + b"0" * 5_000 + b'1, "b": NaN}', {"a": 0.1, "b": None}, ["bad_number"]),
        (b'{"a": "\xff", "b": NaN}', {"a": "\ufffd", "b": None}, ["text_encoding", "bad_number"]),
        (rb'{"a": "\ud800"}', {"a": "\ufffd"}, ["text_encoding"]),
    ],
)
def test_a_value_that_is_wrong_costs_itself(written: bytes, value: object, notes: list[str]) -> None:
    told: list[str] = []
    assert (read_object(written, told), told) == (value, notes)


@pytest.mark.parametrize("written", [b"", b"{", b"{nan}", b"\xff", b"[" * 100_000, b'{"a": 01}', b"NaN,"])
def test_what_is_no_json_is_damaged(written: bytes) -> None:
    told: list[str] = []
    found = read_object(written, told)
    assert (getattr(found, "reason", ""), getattr(found, "damaged", False), told) == ("not_json", True, [])


@pytest.mark.parametrize(
    "written",
    [
        b'{"a": NaN, "b": "' + rb"\"" * 500_000,
        b'{"a": NaN, "b": "' + rb"\"" * 500_000 + b"\\",
        b'{"a": NaN, "b": ' + b"7" * 1_000_000 + b".}",
        b'{"a": NaN, "b": ' + b"-" * 1_000_000 + b"}",
    ],
    ids=["quotes", "half an escape", "digits", "signs"],
)
def test_no_line_takes_longer_than_it_is_long(written: bytes) -> None:
    begun = time.process_time()
    assert isinstance(read_object(written, []), Rejected)
    assert time.process_time() - begun < 2


@given(st.recursive(st.none() | st.floats() | st.text() | st.integers(-(2**80), 2**80), st.lists))
def test_whatever_python_writes_is_read(value: object) -> None:
    written = json.dumps({"a": value}).encode()
    try:
        msgspec.json.decode(written)
    except msgspec.DecodeError:
        mended = mend_json(written)
        assert mended is not None
        msgspec.json.decode(mended.data)
