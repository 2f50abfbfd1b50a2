"""A table's note about itself: the model of its vectors, the cuts of its texts, the origin of them. Pure.

Its writer keeps this in the fence's JSON. A reader believes none of it that could do harm: it names no path and no
code, and a model's name is used only when it looks like one on the hub (`named`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from pipeline.model_card import language_code
from pipeline.model_files import ModelFiles
from pipeline.records import Page
from pipeline.settings import ModelSettings
from sinks.languages import language_of
from sinks.licences import host_of, licence_of

A_FOLDER = "a local folder"
"""Stands for the name of a model that was no hub's: the folder's path is nobody else's business."""

MOST = 50
"""Snapshots, sources, licences, languages … that are noted of each; own documents may have one host a page."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a table's texts, each list sorted; only ever grows."""

    wikis: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    """Codes (`languages.language_of`)."""
    snapshots: tuple[str, ...] = ()
    """Dates of dumps, `YYYYMMDD`."""
    sources: tuple[str, ...] = ()
    """Hosts of the pages' addresses."""
    licences: tuple[str, ...] = ()

    def with_pages(self, pages: Iterable[Page]) -> Contents:
        """These contents and those of the pages; the same object when the pages bring nothing new.

        A list with `MOST` entries stays as it is.
        """
        found = _contents_of(pages)
        both = {name: _together(getattr(self, name), its) for name, its in found.items()}
        return self if all(both[name] == getattr(self, name) for name in both) else Contents(**both)


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The making of a table."""

    model: str = ""
    """Name on the hub, or `A_FOLDER`."""
    place: str = ""
    """`hub`, `package` or `folder`: where its files were."""
    revision: str = ""
    """Commit on the hub; of a folder or the package the hash of its files."""
    document_prompt: str = ""
    query_prompt: str = ""
    dimension: int = 0
    vector_type: str = ""
    metric: str = ""
    normalized: bool = False
    """Vectors have length 1."""
    model_languages: tuple[str, ...] = ()
    """Those that the model's card lists."""
    unit: str = ""
    window_tokens: int = 0
    overlap_tokens: int = 0
    created: str = ""
    """ISO 8601, UTC; empty: the table is older than this note."""
    cirrostream: str = ""
    """Version of the program that wrote here last."""
    contents: Contents = Contents()


def about_of(files: ModelFiles, settings: ModelSettings, vector_type: str, version: str) -> About:
    """The note for a table that is made now, of these settings."""
    return About(
        model=A_FOLDER if files.place == "folder" else files.name,
        place=files.place,
        revision=files.revision,
        document_prompt=files.document_prompt,
        query_prompt=files.query_prompt,
        dimension=files.dimension or 0,
        vector_type=vector_type,
        metric=files.metric,
        normalized=files.normalized,
        model_languages=files.languages,
        unit=settings.unit,
        window_tokens=settings.window_tokens,
        overlap_tokens=settings.overlap_tokens,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cirrostream=version,
    )


def renewed(found: About | None, mine: About) -> About:
    """The note of a table that is taken over: what made it stays, what describes its model is this writer's."""
    if found is None:
        return msgspec.structs.replace(mine, created="")
    return msgspec.structs.replace(mine, created=found.created, contents=found.contents)


def named(about: About) -> str | None:
    """The model that the table names, when that is a name on the hub; a table's note may be anybody's."""
    looks_right = HUB_NAME.fullmatch(about.model) and ".." not in about.model and "--" not in about.model
    return about.model if looks_right and about.place in ("hub", "package") else None


def commit(about: About) -> str | None:
    """The commit of a model on the hub; None when the table names none."""
    return about.revision if about.place == "hub" and _COMMIT.fullmatch(about.revision) else None


def _together(known: tuple[str, ...], found: set[str]) -> tuple[str, ...]:
    return tuple(sorted((*known, *sorted(found - {*known, ""})[: MOST - len(known)])))


def _contents_of(pages: Iterable[Page]) -> dict[str, set[str]]:
    """The same by name, with an empty string where a page says nothing. Pages that are alike in all this count once."""
    found: dict[str, set[str]] = {name: set() for name in Contents.__struct_fields__}
    seen: set[tuple[str, ...]] = set()
    for page in pages:
        origin = page.url[: page.url.find("/", 8)]
        alike = (
            page.wiki,
            page.language,
            page.snapshot,
            origin,
            page.metadata,
            "" if page.snapshot else page.timestamp[:10],
        )
        if alike in seen:
            continue
        seen.add(alike)
        found["wikis"].add(page.wiki)
        found["languages"].add(language_code(language_of(page.language, page.wiki)))
        found["snapshots"].add(page.snapshot)
        found["sources"].add(host_of(page.url))
        found["licences"].add(licence_of(page.url, page.snapshot, page.timestamp, page.metadata).name[:100])
    return found
