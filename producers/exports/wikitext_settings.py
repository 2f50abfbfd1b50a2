"""The settings of `producers.wikitext`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from pipeline.records import valid_wiki
from producers.cirrussearch.namespaces import Namespaces, numbers_of
from producers.files.file_settings import FileSettings


def _wiki(value: str) -> str:
    if value and not valid_wiki(value):
        raise ValueError("not a wiki's name, such as enwiki")
    return value


class WikitextSettings(FileSettings):
    """Which pages of a MediaWiki export become pages."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {"namespaces", "wiki"}

    namespaces: Namespaces = Field("0", description="Namespaces to keep, such as 0,14.")
    wiki: Annotated[str, AfterValidator(_wiki)] = Field(
        "", description="A wiki's name, such as simplewiki; empty: as the export says."
    )

    @property
    def kept_namespaces(self) -> frozenset[int]:
        return numbers_of(self.namespaces)
