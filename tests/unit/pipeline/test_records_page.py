"""docs/records.md: what readers in other languages rely on is what is sent."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from pipeline.dead_letters import DeadLetter
from pipeline.records import ChunkedPage, EmbeddedPage, Page, Source, encode
from tests import ROOT
from tests.tables import embedded

PAGE = (ROOT / "docs" / "records.md").read_text()


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def first_column(name: str) -> list[str]:
    rows = re.findall(r"^\| (`.+?`) \|", section(name), re.MULTILINE)
    return [found for row in rows for found in re.findall(r"`([a-z0-9_]+)`", row)]


@pytest.mark.parametrize("kind", [Page, ChunkedPage, EmbeddedPage], ids=lambda kind: kind.__name__)
def test_every_field_of_a_record_is_described_in_its_order(kind: type[msgspec.Struct]) -> None:
    assert first_column(kind.__name__) == list(kind.__struct_fields__)


def test_every_header_of_a_dead_letter_is_described() -> None:
    letter = DeadLetter(
        "chunks", 1, 2, b"enwiki:1", b"x" * (25 * 1024 * 1024), "too_large", "why", Source("id", 1, 3), model="m"
    )
    assert sorted(first_column("Dead letters")) == sorted(name for name, _ in letter.headers("embed"))


def test_the_example_reads_a_record() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    page = embedded("enwiki:1", 1, 3)
    names: dict[str, object] = {"message": type("Message", (), {"value": encode(page)})}
    exec(code, names)
    vectors = names["vectors"]
    assert isinstance(vectors, np.ndarray)
    assert vectors.shape == (3, page.dimension)


def test_a_reader_may_ignore_what_it_does_not_know_and_miss_what_it_does() -> None:
    known = {"schema": 1, "wiki": "enwiki", "page_id": "1", "title": "A", "text": "B", "of_a_later_version": [1, {}]}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(known), type=Page).title == "A"
    sent = msgspec.msgpack.decode(encode(Page(wiki="enwiki", page_id="1", title="A", text="B")))
    assert set(sent) == set(Page.__struct_fields__)
