"""The settings of `producers.cirrus`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.cli import ARGUMENT, FLAG
from pipeline.settings import ServiceSettings
from producers.dump_lines import MAX_LINE_BYTES
from producers.progress import ReaderOptions


def _namespaces(value: str) -> str:
    try:
        numbers = sorted({int(number) for number in value.split(",")})
    except ValueError:
        raise ValueError("numbers with commas between them, such as 0,14") from None
    return ",".join(map(str, numbers))


class CirrusSettings(ServiceSettings):
    """What to read, which of it, and how often to write down how far it came."""

    sources: list[str] = Field(
        [], description="Dump files, folders of them, or globs.", json_schema_extra={ARGUMENT: True}
    )
    limit: int | None = Field(None, ge=0, description="Send at most so many pages, counted over all runs.")
    namespaces: Annotated[str, AfterValidator(_namespaces)] = Field(
        "0", description="Namespaces to keep, such as 0,14."
    )
    processes: int = Field(0, ge=0, le=1024, description="Shards read at once; 0: one a core.")
    again: bool = Field(False, description="Send everything again, whatever was sent before.")
    allow_older: bool = Field(False, description="Send a snapshot though a newer one of its wiki was sent before.")
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")
    progress_pages: int = Field(1_000, ge=1, description="Write progress after so many pages,")
    progress_seconds: float = Field(2.0, gt=0, description="or so many seconds, whichever comes first.")

    @property
    def options(self) -> ReaderOptions:
        return ReaderOptions(namespaces=tuple(int(number) for number in self.namespaces.split(",")))
