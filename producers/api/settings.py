"""The settings of sources that ask a wiki for its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pipeline.cli import FLAG
from pipeline.errors import UsageError
from pipeline.settings import ServiceSettings
from pipeline.wiki_name import WikiNameOrNone
from producers.fetch.contact import Contact
from producers.wikimedia.settings import DocumentSettings
from producers.wikimedia.sites import site


def web_address(value: str) -> str:
    """Checks that this is a plain http(s) address, without a user or a query."""
    if value:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("an http:// or https:// address without a query")
    return value


class WikiSettings(ServiceSettings, DocumentSettings):
    """The wiki, who asks it, and the pages of it that are wanted."""

    wiki: WikiNameOrNone = Field("", description="Database name of a wiki, such as simplewiki.")
    api: Annotated[str, AfterValidator(web_address)] = Field(
        "", description="Address of the wiki's api.php; empty: that of the Wikimedia wiki of this name."
    )
    api_token: SecretStr = SecretStr("")
    """Access token of OAuth 2 for an account at the wiki, such as an editor's or a bot's: it may ask more often."""
    contact: Contact = Field("", description="Your e-mail or web address, which servers see as who asks.")

    @model_validator(mode="after")
    def _has_wiki(self) -> Self:
        if not self.wiki:
            raise ValueError("name the wiki: --wiki (CIRROSTREAM_WIKI), such as simplewiki")
        return self

    @property
    def api_url(self) -> str:
        """Address of the API. Raises UsageError when the wiki is not one of Wikimedia's and none is given."""
        if self.api:
            return self.api
        host, _ = site(self.wiki)
        if not host:
            raise UsageError(f"{self.wiki}: not the name of a Wikimedia wiki; say where its api.php is with --api")
        return f"https://{host}/w/api.php"


class MediaWikiSettings(WikiSettings):
    """The pages to fetch: by title, from a file of titles, or of a category."""

    titles: str = Field("", description="Titles with | between them, such as 'Amber|Baltic Sea'.")
    titles_file: Path | None = Field(None, description="A file of titles, one a line.")
    category: str = Field("", description="Pages of this category, such as 'Minerals'.")
    depth: int = Field(0, ge=0, le=20, description="Subcategories of the category too, so many levels down.")
    limit: int | None = Field(None, ge=0, description="Send at most so many pages.")
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(map(bool, (self.titles, self.titles_file, self.category))) != 1:
            raise ValueError("say which pages, in one way: --titles 'A|B', --titles-file FILE or --category NAME")
        return self
