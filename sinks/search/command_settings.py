"""Settings of `python -m sinks.search`: what is asked, in which way, and of which pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from pipeline import cli
from sinks.search.answers import By, Mode
from sinks.search.filters import Filters, metadata_of
from sinks.search.opening import SearchOptions
from sinks.search.question import MAX_K


def _one(value: object) -> object:
    """A variable of the environment is one value, an empty one is none."""
    return ([value] if value else []) if isinstance(value, str) else value


Texts = Annotated[list[str], NoDecode, BeforeValidator(_one)]
Numbers = Annotated[list[int], NoDecode, BeforeValidator(_one)]


class SearchSettings(SearchOptions):
    """Settings of `python -m sinks.search`.

    The filters have names of their own in the environment, where `CIRROSTREAM_SINCE` or `CIRROSTREAM_SNAPSHOT` may
    stand for a producer.
    """

    question: str | None = Field(
        None, description="The question; none: a prompt.", json_schema_extra={cli.ARGUMENT: True}
    )
    k: int = Field(10, ge=1, le=MAX_K, description="Pages, or chunks, to show.")
    mode: Mode = Field("hybrid", description="By meaning, words and names (hybrid), meaning (vector), or words (text).")
    by: By = Field("page", description="Show each page once with its best passages (page), or each chunk (chunk).")
    wiki: Texts = Field([], description="Only pages of this wiki, such as enwiki; may be given again.")
    only_language: Texts = Field(
        [],
        description="Only pages in this language, such as de; may be given again.",
        json_schema_extra={cli.FLAG: "--language"},
    )
    only_category: Texts = Field(
        [],
        description="Only pages of this category, by its whole name; may be given again.",
        json_schema_extra={cli.FLAG: "--category"},
    )
    only_since: str = Field(
        "",
        description="Only pages changed on or after this date, such as 2026-11-15.",
        json_schema_extra={cli.FLAG: "--since"},
    )
    only_until: str = Field(
        "", description="Only pages changed on or before this date.", json_schema_extra={cli.FLAG: "--until"}
    )
    only_popularity: float | None = Field(
        None,
        description="Only pages with at least this popularity_score.",
        json_schema_extra={cli.FLAG: "--min-popularity"},
    )
    only_namespace: Numbers = Field(
        [],
        description="Only pages of this namespace, such as 0; may be given again.",
        json_schema_extra={cli.FLAG: "--page-namespace"},
    )
    only_snapshot: Texts = Field(
        [],
        description="Only pages of the dump of this date, such as 20261115; may be given again.",
        json_schema_extra={cli.FLAG: "--snapshot"},
    )
    only_metadata: Texts = Field(
        [],
        description="Only pages with this field in their metadata, as KEY=VALUE; may be given again.",
        json_schema_extra={cli.FLAG: "--metadata"},
    )
    similar: str = Field(
        "", description="More like this: the id of a chunk, such as enwiki:12#3, instead of a question."
    )
    deadline_ms: float | None = Field(
        None, gt=0, le=600_000, description="Milliseconds after which legs that have not answered are left out."
    )
    explain: bool = Field(False, description="Show each hit's score by leg, and LanceDB's plans.")
    about: bool = Field(False, description="Describe the table instead: model, contents, indexes, measurements.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})

    @property
    def needs_model(self) -> bool:
        """False when nothing is asked for by meaning."""
        return self.mode != "text" and not self.similar

    def filters(self) -> Filters:
        """The filters.

        Raises:
            UsageError: one has a wrong value.
        """
        return Filters(
            wiki=self.wiki,
            language=self.only_language,
            category=self.only_category,
            since=self.only_since or None,
            until=self.only_until or None,
            min_popularity=self.only_popularity,
            namespace=self.only_namespace,
            snapshot=self.only_snapshot,
            metadata=metadata_of(self.only_metadata),
        )
