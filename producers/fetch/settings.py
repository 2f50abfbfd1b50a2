"""Settings of a command that downloads dumps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.settings import Settings
from pipeline.wiki_name import WikiNameOrNone
from producers.fetch.contact import Contact

MIRROR = "https://dumps.wikimedia.org/other/cirrus_search_index/"
LATEST = "latest"
GIB = 1024**3

_DATE = re.compile(r"\d{8}")
_MIRROR = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\x21-\x7e]*)?")


def _snapshot(value: str) -> str:
    if value != LATEST and not _DATE.fullmatch(value):
        raise ValueError("latest, or a date such as 20261115")
    return value


def _mirror(value: str) -> str:
    if "@" in value or "?" in value or "#" in value or not _MIRROR.fullmatch(value):
        raise ValueError("an http or https address of a folder; folders of this machine are named as sources instead")
    return value if value.endswith("/") else value + "/"


class MirrorSettings(Settings):
    """The snapshot and the wiki to fetch, and the server."""

    wiki: WikiNameOrNone = Field("", description="Wiki whose dump to download, such as simplewiki or enwiki.")
    snapshot: Annotated[str, AfterValidator(_snapshot)] = Field(
        LATEST, description="Date of the snapshot, such as 20261115, or latest: the newest complete one."
    )
    mirror: Annotated[str, AfterValidator(_mirror)] = Field(
        MIRROR, description="Where the dumps are: an http(s) folder of the same layout."
    )
    contact: Contact = Field("", description="Your e-mail or web address; dump servers want to know who downloads.")
    stall_seconds: float = Field(60, gt=0, description="Connect again when a server sends nothing for so long.")

    @property
    def dumps_folder(self) -> Path:
        """The folder of downloads, which has folders as on their server."""
        return self.data_dir / "dumps"


class DownloadSettings(MirrorSettings):
    """And what becomes of the files once they are read."""

    delete_after: bool = Field(False, description="Delete each downloaded file as soon as it is read.")
    download_ahead_gib: float = Field(
        8, gt=0, description="With --delete-after: downloaded and not yet read, at most so many GiB."
    )
