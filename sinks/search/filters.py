"""Filters: which rows a search may find. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import UsageError
from pipeline.records import valid_wiki
from sinks.storage import quoted


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on a row's page; those of one field are alternatives, those of several hold together."""

    wiki: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    min_popularity: float | None = None
    namespace: tuple[int, ...] = ()
    snapshot: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def condition(self) -> str | None:
        """The filter in LanceDB's SQL; None: every row.

        Raises:
            UsageError: a value is not of its field's kind.
        """
        for wiki in self.wiki:
            if not valid_wiki(wiki):
                raise UsageError(f"--wiki {wiki!r} is not a wiki's name such as enwiki")
        return f"wiki IN ({', '.join(map(quoted, self.wiki))})" if self.wiki else None

    def shown(self) -> dict[str, object]:
        """The filters that are set."""
        return {"wiki": list(self.wiki)} if self.wiki else {}
