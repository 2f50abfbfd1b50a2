"""The settings of `producers.cirrus`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from producers.dump_lines import MAX_LINE_BYTES
from producers.file_settings import FileSettings


def _namespaces(value: str) -> str:
    try:
        numbers = sorted({int(number) for number in value.split(",")})
    except ValueError:
        raise ValueError("numbers with commas between them, such as 0,14") from None
    return ",".join(map(str, numbers))


class CirrusSettings(FileSettings):
    """Which documents of a CirrusSearch dump become pages."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {"namespaces"}

    namespaces: Annotated[str, AfterValidator(_namespaces)] = Field(
        "0", description="Namespaces to keep, such as 0,14."
    )
    allow_older: bool = Field(False, description="Send a snapshot though a newer one of its wiki was sent before.")
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")

    @property
    def kept_namespaces(self) -> frozenset[int]:
        return frozenset(int(number) for number in self.namespaces.split(","))
