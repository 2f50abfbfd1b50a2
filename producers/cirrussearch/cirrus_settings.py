"""The settings of `producers.cirrus`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from pipeline.errors import UsageError
from producers.bytes.lines import MAX_LINE_BYTES
from producers.fetch.settings import DownloadSettings
from producers.files.file_settings import FileSettings
from producers.wikimedia.namespaces import Namespaces, numbers_of
from producers.wikimedia.rules import Disambiguation, DocumentRules, Redirects, References

MAX_PAGES_FILE = 512 * 1024 * 1024


def _date(value: str) -> str:
    if value and not re.fullmatch(r"\d{8}", value):
        raise ValueError("a date such as 20261115")
    return value


def _categories(value: str) -> str:
    return "|".join(sorted({name.strip() for name in value.split("|") if name.strip()}))


def read_pages_file(path: Path) -> frozenset[str]:
    """The ids and titles in a file, one a line; titles as the wiki shows them, or with `_` for a space.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_PAGES_FILE:
            raise UsageError(f"{path}: larger than {MAX_PAGES_FILE:,} bytes, which is no list of pages")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return frozenset(line.strip().replace("_", " ") for line in lines if line.strip())


class CirrusSettings(FileSettings, DownloadSettings):
    """Which documents of a CirrusSearch dump become pages."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {
        "namespaces",
        "redirects",
        "disambiguation",
        "references",
        "categories",
        "min_popularity",
        "pages_file",
    }

    namespaces: Namespaces = Field("0", description="Namespaces to keep, such as 0,14.")
    redirects: Redirects = Field(
        "alias", description="Redirects: titles of the page they lead to (alias), left out, or pages of their own."
    )
    disambiguation: Disambiguation = Field("keep", description="Pages that only tell apart things of one name.")
    references: References = Field(
        "keep", description="Lists of references; dropped only where the text has its headings in it."
    )
    categories: Annotated[str, AfterValidator(_categories)] = Field(
        "", description="Keep pages in any of these categories, such as 'Living people|Mammals of Europe'."
    )
    min_popularity: float = Field(0.0, ge=0, le=1, description="Keep pages with at least this popularity_score.")
    pages_file: Path | None = Field(None, description="Keep the pages of this file: ids or titles, one a line.")
    allow_older: bool = Field(False, description="Send a snapshot though a newer one of its wiki was sent before.")
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")

    @property
    def rules(self) -> DocumentRules:
        """These settings as the reader of documents takes them. Raises UsageError for a bad `pages_file`."""
        return DocumentRules(
            namespaces=numbers_of(self.namespaces),
            redirects=self.redirects,
            disambiguation=self.disambiguation,
            references=self.references,
            categories=frozenset(name.casefold() for name in self.categories.split("|") if name),
            min_popularity=self.min_popularity,
            pages=None if self.pages_file is None else read_pages_file(self.pages_file),
        )

    def deciding(self, name: str) -> object:
        """A pages file decides by what is in it."""
        if name == "pages_file" and self.pages_file is not None:
            listed = "\n".join(sorted(read_pages_file(self.pages_file)))
            return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()
        return super().deciding(name)


class CirrusCommandSettings(CirrusSettings):
    """What `python -m producers.cirrus` takes: besides reading, it can end a snapshot."""

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
