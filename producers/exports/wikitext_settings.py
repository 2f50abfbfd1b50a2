"""The settings of `producers.wikitext`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.wiki_name import WikiNameOrNone
from producers.files.file_settings import FileSettings
from producers.wikimedia.namespaces import Namespaces, numbers_of


class WikitextSettings(FileSettings):
    """Which pages of a MediaWiki export become pages."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {"namespaces", "wiki"}

    namespaces: Namespaces = Field("0", description="Namespaces to keep, such as 0,14.")
    wiki: WikiNameOrNone = Field("", description="A wiki's name, such as simplewiki; empty: as the export says.")

    @property
    def kept_namespaces(self) -> frozenset[int]:
        return numbers_of(self.namespaces)
