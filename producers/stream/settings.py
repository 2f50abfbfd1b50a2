"""The settings of `producers.live`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.records import utc_timestamp
from producers.api.settings import WikiSettings, web_address

PUBLIC_STREAM = "https://stream.wikimedia.org/v2/stream/mediawiki.page_change.v1"


def _moment(value: str) -> str:
    """Any ISO 8601 time to one in UTC; without a zone it is taken for UTC."""
    if not value:
        return value
    try:
        moment = datetime.fromisoformat(value)
        return utc_timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        raise ValueError("a time such as 2026-11-15 or 2026-11-15T06:00:00Z") from None


class LiveSettings(WikiSettings):
    """Which changes to follow, from where, and how eagerly."""

    stream: Annotated[str, AfterValidator(web_address)] = Field(
        PUBLIC_STREAM, description="Address of the stream of page changes (server-sent events)."
    )
    since: Annotated[str, AfterValidator(_moment)] = Field(
        "",
        description="Begin with the changes of this time, such as a snapshot's date; another value than before "
        "begins again. Empty: with now.",
    )
    refetch_seconds: float = Field(
        30.0, ge=0, le=3600, description="Fetch a page that is edited again and again at most so often."
    )
    silence_seconds: float = Field(
        60.0, gt=0, description="Connect to the stream again when it says nothing for so long."
    )
    max_away_days: float = Field(
        7.0, gt=0, description="Refuse to go on after a longer absence: the stream has forgotten what was before."
    )
    progress_seconds: float = Field(2.0, gt=0, description="Write down how far all is sent, at most so often.")
