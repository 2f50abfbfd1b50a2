"""Settings of every producer of files."""

from __future__ import annotations

import json
import os
from typing import ClassVar

from pydantic import Field

from pipeline.cli import ARGUMENT, FLAG
from pipeline.errors import UsageError
from pipeline.settings import ServiceSettings
from producers.run.shards import Origin


class FileSettings(ServiceSettings):
    """What to read, how much of it, and how often to write down how far it came."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({"sample", "min_length"})
    """Fields that decide which entries become pages, and what they say: with others, a file is read from its start."""

    sources: list[str] = Field([], description="Files, folders of them, or globs.", json_schema_extra={ARGUMENT: True})
    limit: int | None = Field(None, ge=0, description="Send at most so many pages, counted over all runs.")
    sample: float = Field(
        1.0, gt=0, le=1, description="Share of the pages to send, such as 0.01; the same ones every time."
    )
    min_length: int = Field(0, ge=0, description="Leave out pages with fewer characters of text.")
    processes: int = Field(0, ge=0, le=1024, description="Files read at once; 0: one a core.")
    again: bool = Field(False, description="Send everything again, whatever was sent before.")
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )
    refresh_metadata: bool = Field(
        False, description="Send pages again of which only links, popularity or categories have changed, too."
    )
    shard_index: int | None = Field(
        None, ge=0, description="This producer's number among --shard-count, from 0; unset: JOB_COMPLETION_INDEX, or 0."
    )
    shard_count: int = Field(1, ge=1, le=100_000, description="Producers that share the files.")
    progress_pages: int = Field(100, ge=1, description="Write progress after so many pages,")
    progress_seconds: float = Field(2.0, gt=0, description="or so many seconds, whichever comes first.")

    @property
    def own_index(self) -> int:
        """`shard_index`, or what Kubernetes gives the pods of an Indexed Job."""
        given = os.environ.get("JOB_COMPLETION_INDEX", "0")
        if self.shard_index is None and not given.isdecimal():
            raise UsageError(f"JOB_COMPLETION_INDEX is {given!r}, not a number from 0")
        return int(given) if self.shard_index is None else self.shard_index

    @property
    def options(self) -> str:
        """The deciding fields as JSON, but for those at their defaults: one that is new tomorrow changes nothing."""
        fields = type(self).model_fields
        chosen = {name: self.deciding(name) for name in sorted(self.DECIDING)}
        return json.dumps({name: value for name, value in chosen.items() if value != fields[name].default})

    @property
    def downloads(self) -> bool:
        """True when what is to be read is named otherwise than by `sources`, and has to be downloaded."""
        return False

    def origin(self, named: Origin) -> Origin:
        """Wiki and snapshot of a file's documents, whose name says `named`. They are part of the key of its progress:
        a file may be read into several corpora."""
        return named

    def deciding(self, name: str) -> object:
        """What a deciding field says, as JSON can."""
        return getattr(self, name)
