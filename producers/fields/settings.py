"""The settings of the producers whose records have fields of anybody's choice."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.wiki_name import WikiName
from producers.fields.mapping import MAX_METADATA_BYTES, FieldMapping, Reshaping
from producers.run.shards import Origin
from producers.run.source import FileSettings

Preset = Literal["none", "arxiv"]

PRESETS = {"arxiv": "producers.fields.arxiv"}
"""Preset -> the module that has its `RESHAPING`, loaded where it is asked for."""


def _names(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise ValueError("names with commas between them, such as title,abstract")
    return ",".join(names)


def _names_or_none(value: str) -> str:
    return _names(value) if value else value


class MappingSettings(FileSettings):
    """The fields of a record that a page is made of."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {
        "preset",
        "wiki",
        "id_field",
        "title_field",
        "text_fields",
        "url_field",
        "language_field",
        "timestamp_field",
        "categories_field",
        "skip_fields",
        "max_metadata_bytes",
    }

    preset: Preset = Field("none", description="Read the records of a known source: arxiv, its metadata snapshot.")
    wiki: WikiName = Field(
        "docs", description="Name of the corpus, the first part of every key; with a preset, the preset's name."
    )
    id_field: str = Field("id", min_length=1, description="Field with the id: a string or a whole number.")
    title_field: str = Field("title", description="Field with the title; '' for none, here and below.")
    text_fields: Annotated[str, AfterValidator(_names)] = Field(
        "text", description="Fields with the text, such as abstract,body: joined with an empty line between them."
    )
    url_field: str = Field("url", description="Field with the page's web address.")
    language_field: str = Field("language", description="Field with the language, such as en.")
    timestamp_field: str = Field("timestamp", description="Field with an ISO 8601 date or time.")
    categories_field: str = Field("categories", description="Field with a list of categories, or with one.")
    skip_fields: Annotated[str, AfterValidator(_names_or_none)] = Field(
        "", description="Fields to leave out; all others go into `metadata`."
    )
    max_metadata_bytes: int = Field(
        MAX_METADATA_BYTES, ge=0, le=1024 * 1024, description="Leave the largest fields out of a longer `metadata`."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_preset(cls, given: dict[str, object]) -> dict[str, object]:
        if given.get("preset") in PRESETS and "wiki" not in given:
            return {**given, "wiki": given["preset"]}
        return given

    def origin(self, named: Origin) -> Origin:
        return Origin(self.wiki)

    @property
    def _reshaping(self) -> Reshaping | None:
        if self.preset == "none":
            return None
        reshaping: Reshaping = import_module(PRESETS[self.preset]).RESHAPING
        return reshaping

    @property
    def mapping(self) -> FieldMapping:
        return FieldMapping(
            wiki=self.wiki,
            id_field=self.id_field,
            title_field=self.title_field,
            text_fields=tuple(self.text_fields.split(",")),
            url_field=self.url_field,
            language_field=self.language_field,
            timestamp_field=self.timestamp_field,
            categories_field=self.categories_field,
            skip_fields=tuple(filter(None, self.skip_fields.split(","))),
            max_metadata_bytes=self.max_metadata_bytes,
            reshaping=self._reshaping,
        )
