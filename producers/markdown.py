"""`python -m producers.markdown FOLDER…`: Markdown files with front matter into `pages`, one file a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import frontmatter
import yaml
from frontmatter.default_handlers import YAMLHandler
from pydantic import Field

from pipeline.cli import command, new_app, run
from pipeline.errors import UsageError
from pipeline.rejected import Rejected
from producers.bytes.blocks import PackedFile
from producers.bytes.lines import BAD_TEXT, Position
from producers.fields.mapping import Record, field
from producers.fields.settings import MappingSettings
from producers.reader import Entry, Tick, ticking
from producers.run.runner import run_source
from producers.run.shards import FileNames, Shard
from producers.run.source import Source

MAX_BYTES = 16 * 1024 * 1024
"""Of a file: ten times the longest book."""

MAX_FRONT_MATTER = 64 * 1024
"""Characters: up to four seconds, in which reading cannot be stopped."""

TOO_LARGE = Rejected("file_too_large", f"more than {MAX_BYTES:,} bytes")
BAD_FRONT_MATTER = "front_matter"
"""Note: a file's front matter could not be read, or is not fields with values; all of the file is text then."""

TEXT = "text"
"""Field with the text behind the front matter."""

PLACE = "\0place"
"""Field with the file's place; no front matter has one of this name."""

MARKDOWN_NAMES = FileNames("markdown", "Markdown file", (".md", ".markdown"))

_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)
"""Raised by PyYAML at the front matter of others, such as `!!bool maybe` or `!!timestamp soon`."""


class MarkdownSettings(MappingSettings):
    """Notes, or the pages of a site: front matter has the fields, and the file's place is the page's id."""

    DECIDING: ClassVar[frozenset[str]] = MappingSettings.DECIDING | {"root"}

    root: Path = Field(Path(), description="A page's id is its file's place below this folder; unset: where you are.")
    id_field: str = Field("", description="Field of the front matter with the id; '' for the file's place.")
    timestamp_field: str = Field("date", description="Field with an ISO 8601 date or time.")
    categories_field: str = Field("tags", description="Field with a list of categories, or with one.")

    @property
    def folders(self) -> Callable[[Path], int]:
        """All below the root: a file that was moved is another page."""
        root = self.root.resolve()
        return lambda path: len(path.relative_to(root).parents) - 1 if path.is_relative_to(root) else 0

    def deciding(self, name: str) -> object:
        """A folder is the same one wherever it is named from."""
        return str(self.root.resolve()) if name == "root" else super().deciding(name)


class _Fields(yaml.SafeLoader):
    """YAML without aliases, a few lines of which become gigabytes where they are written out."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """A pair of surrogates, as in JSON, is one character; raises UnicodeDecodeError for half of one."""
        return str(super().construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16")


class _FrontMatter(YAMLHandler):
    """Fields between two lines of `---` at the beginning of a file; anywhere else such lines are rules in its text."""

    def split(self, text: str) -> tuple[str, str]:
        if not self.detect(text):
            raise ValueError("there is none")
        return super().split(text)

    def load(self, fm: str, **_: object) -> Any:
        if len(fm) > MAX_FRONT_MATTER:
            raise yaml.YAMLError("too long")
        fields = yaml.load(fm, _Fields)  # noqa: S506 - it is a SafeLoader
        if not isinstance(fields, dict | None):
            raise yaml.YAMLError("no fields with values")
        return fields or {}


class MarkdownReader:
    """One file, which is one entry: bytes → front matter and text → page."""

    def __init__(self, shard: Shard, settings: MarkdownSettings) -> None:
        self._file = PackedFile(shard.path)
        self._path = shard.path
        self._place = shard.path.relative_to(settings.root.resolve()).as_posix()
        self._id_field = settings.id_field
        self._mapping = settings.model_copy(update={"id_field": settings.id_field or PLACE}).mapping

    @property
    def bytes_read(self) -> int:
        return self._file.bytes_read

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The file's one entry; none of an empty file, or when it was read before."""
        if start.line:
            return
        data = bytearray()
        for block in ticking(self._file.blocks(), tick):
            data += block
            if len(data) > MAX_BYTES:
                yield Entry(Position(1, len(data)), TOO_LARGE)
                return
        if not data or data.isspace():
            return
        notes: list[str] = []
        page = self._mapping.read(self._record(data, notes), notes)
        yield Entry(Position(1, len(data)), page, tuple(notes))

    def _record(self, data: bytearray, notes: list[str]) -> Record:
        text = data.decode("utf-8-sig", "replace")
        if "\ufffd" in text and b"\xef\xbf\xbd" not in data:
            notes.append(BAD_TEXT)
        try:
            fields, body = frontmatter.parse(text, handler=_FrontMatter())
        except _UNREADABLE:
            notes.append(BAD_FRONT_MATTER)
            fields, body = {}, text
        record = {str(name): value.isoformat() if isinstance(value, date) else value for name, value in fields.items()}
        if (name := self._mapping.title_field) and field(record, name) is None:
            record[name] = _heading(body) or self._path.stem
        place = {} if self._id_field else {PLACE: self._place}
        return {**record, **place, TEXT: body}


def _heading(body: str) -> str:
    """The first heading's text, without the `#` behind it; empty when there is none."""
    found = _HEADING.search(body)
    text = found[1].rstrip() if found else ""
    bare = text.rstrip("#")
    return bare.rstrip() if bare.endswith((" ", "\t")) else text


def check_place(shard: Shard, settings: MarkdownSettings) -> None:
    """Raises UsageError for a file that is not below the folder that ids are made from."""
    root = settings.root.resolve()
    if not shard.path.is_relative_to(root):
        raise UsageError(f"{shard.path}: not below {root}, which ids are made from: name another folder with --root")


SOURCE = Source("markdown", MARKDOWN_NAMES, MarkdownSettings, MarkdownReader, check_place)

app = new_app("Reads Markdown files into Kafka.")


@command(app, MarkdownSettings)
def markdown(settings: MarkdownSettings) -> int:
    """Sends Markdown files (.md, .markdown), with or without front matter in YAML, to `pages`: those that are new or
    have changed since they were sent."""
    return run_source(SOURCE, settings)


if __name__ == "__main__":
    run(app, "producers.markdown")
