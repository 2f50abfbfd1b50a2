"""Files of every format that a source reads, made of the same items: a new source adds a `FileFormat` to `FORMATS`."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cores import usable_cores
from producers.reader import DocumentReader
from producers.run.shards import find_shards
from producers.run.source import source_named
from tests.dumps import joined, pair

BLANK = "blank"
REJECTED = "rejected"
Item = int | str
"""A page of this number, `BLANK`, or `REJECTED`: something that is there, and that no page can be made of."""

EXPORT_HEAD = """<mediawiki version="0.11" xml:lang="en">
  <siteinfo>
    <dbname>enwiki</dbname>
    <base>https://en.wikipedia.org/wiki/Main_Page</base>
    <namespaces><namespace key="0" case="first-letter" /></namespaces>
  </siteinfo>
"""


@dataclass(frozen=True)
class FileFormat:
    """One way to write what one source reads."""

    source: str
    """As `producers.run.source.MODULES` has it."""
    name: str
    """The file's."""
    encode: Callable[[Sequence[Item]], bytes]
    """The file of these items, in their order."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    blanks: bool = True
    """Whether the format knows blank entries."""
    most: int = 1_000
    """Items that one file can have."""
    told_when_cut: bool = True
    """Whether a file that ends too early can be told from a whole one."""

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    def items(self, wanted: Sequence[Item]) -> list[Item]:
        """Those of the wanted items that a file of this format can have."""
        return [item for item in wanted if self.blanks or item != BLANK][: self.most]

    def write(self, folder: Path, items: Sequence[Item]) -> Path:
        path = folder / self.name
        path.write_bytes(self.encode(self.items(items)))
        return path

    def reader(self, path: Path) -> DocumentReader:
        """A reader of the file, as the runner makes one."""
        source = source_named(self.source)
        (shard,) = find_shards([str(path)], source.names)
        reader: DocumentReader = source.reader(shard, source.settings(**self.settings))
        return reader


def text_of(number: int) -> str:
    return f"The text of {number} is about the {number}th thing. Ä€😀 " * (1 + number % 3)


def _json_lines(items: Sequence[Item]) -> bytes:
    lines = {BLANK: b" ", REJECTED: b'{"id": 7, "title": "no text, and cut'}
    return joined([lines[item] if isinstance(item, str) else _record(item) for item in items])


def _record(number: int) -> bytes:
    return json.dumps({"id": number, "title": f"Title {number}", "text": text_of(number)}).encode()


def _bulk(items: Sequence[Item]) -> bytes:
    lines: list[bytes] = []
    for item in items:
        if item == BLANK:
            lines.append(b"")
        elif item == REJECTED:
            lines += pair(999, page_type="redirect", text="")
        else:
            lines += pair(int(item), text=text_of(int(item)))
    return joined(lines)


def _export(items: Sequence[Item]) -> bytes:
    return (EXPORT_HEAD + "".join(map(_exported, items)) + "</mediawiki>\n").encode()


def _exported(item: Item) -> str:
    if item == REJECTED:
        return "<page><title>Gone</title><ns>0</ns><redirect title='There' /><revision></revision></page>\n"
    return (
        f"<page><title>Title {item}</title><ns>0</ns><id>{item}</id><revision><id>{item}1</id>"
        f"<timestamp>2026-11-01T00:00:00Z</timestamp><text>{escape(text_of(int(item)))}</text></revision></page>\n"
    )


def _parquet(items: Sequence[Item]) -> bytes:
    numbers = [None if isinstance(item, str) else item for item in items]
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "title": [f"Title {number}" for number in numbers],
        "text": ["" if number is None else text_of(number) for number in numbers],
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=3)
    return bytes(sink.getvalue().to_pybytes())


def _markdown(items: Sequence[Item]) -> bytes:
    if not items:
        return b" \n"
    (item,) = items
    body = "" if item == REJECTED else text_of(int(item))
    return f"---\nid: {item}\ntitle: Title {item}\n---\n{body}".encode()


def _packed(encode: Callable[[Sequence[Item]], bytes], pack: Callable[[bytes], bytes]) -> Callable[..., bytes]:
    return lambda items: pack(encode(items))


_BULK = "enwiki_content-20261115-00000.json"
_EXPORT = "enwiki-20261101-pages-articles.xml"
_ONE_PARSER = {"processes": usable_cores()}

FORMATS = (
    FileFormat("jsonl", "notes.jsonl", _json_lines, told_when_cut=False),
    FileFormat("jsonl", "notes.jsonl.gz", _packed(_json_lines, gzip.compress)),
    FileFormat("cirrus", _BULK, _bulk, told_when_cut=False),
    FileFormat("cirrus", f"{_BULK}.bz2", _packed(_bulk, bz2.compress)),
    FileFormat("wikitext", _EXPORT, _export, _ONE_PARSER, blanks=False),
    FileFormat("wikitext", f"{_EXPORT}.bz2", _packed(_export, bz2.compress), _ONE_PARSER, blanks=False),
    FileFormat("parquet", "rows.parquet", _parquet, blanks=False),
    FileFormat(
        "markdown", "note.md", _markdown, {"id_field": "id", "root": "/"}, blanks=False, most=1, told_when_cut=False
    ),
)
