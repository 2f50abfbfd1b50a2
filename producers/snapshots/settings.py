"""Settings of producers whose files are snapshots of a wiki."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from producers.fetch.settings import MirrorSettings
from producers.run.source import FileSettings


def _date(value: str) -> str:
    if value and not re.fullmatch(r"\d{8}", value):
        raise ValueError("a date such as 20261115")
    return value


class SnapshotSettings(FileSettings):
    """Reading snapshots that follow each other."""

    allow_older: bool = Field(False, description="Send a snapshot though a newer one of its wiki was sent before.")


class FinishSettings(SnapshotSettings, MirrorSettings):
    """Ending a snapshot."""

    finish: Annotated[str, AfterValidator(_date)] = Field(
        "", description="Read nothing; delete what this snapshot (YYYYMMDD) lacks, once all of it has been read."
    )
    max_deletions: float = Field(0.01, ge=0, le=1, description="Share of the pages that --finish may delete.")
    accept_unreadable: int = Field(
        0, ge=0, description="Entries that could not be read and name no page, which --finish may overlook."
    )
    accept_shape: bool = Field(
        False,
        description="Let --finish end a snapshot though its documents, redirects or fields are far from the last's.",
    )
