"""The records of arXiv's metadata snapshot: one JSON object a paper, as arXiv publishes them for download."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from pipeline.records import utc_timestamp
from producers.fields.mapping import Record, Reshaping

_PARAGRAPH = re.compile(r"\n[ \t]+|\n{2,}")


def reshape(record: Record, notes: list[str]) -> Record:
    """The record with a page's fields under their usual names; the others are for `metadata`, in the order of use.

    `authors_parsed` says again, in pieces, what `authors` says, and is left out.
    """
    page_id = record.get("id")
    path = quote(page_id, safe="/.") if isinstance(page_id, str) else ""
    versions = _versions(record.get("versions"), notes)
    return {
        "id": page_id,
        "title": record.get("title"),
        "text": _prose(record.get("abstract")),
        "url": f"https://arxiv.org/abs/{path}" if path else None,
        "language": "en",
        "timestamp": record.get("update_date"),
        "categories": _split(record.get("categories")),
        "authors": _line(record.get("authors")),
        "doi": record.get("doi"),
        "journal_ref": _line(record.get("journal-ref")),
        "comments": _line(record.get("comments")),
        "submitter": record.get("submitter"),
        "report_no": record.get("report-no"),
        "license": record.get("license"),
        "submitted": versions[0] if versions else None,
        "revised": versions[-1] if len(versions) > 1 else None,
        "versions": len(versions) or None,
        "pdf_url": f"https://arxiv.org/pdf/{path}" if path else None,
    }


RESHAPING = Reshaping(id_field="id", text_fields=("abstract",), reshape=reshape)


def _line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value


def _prose(value: object) -> object:
    """arXiv breaks lines after 80 characters and indents the first of a paragraph."""
    if not isinstance(value, str):
        return value
    return "\n\n".join(" ".join(part.split()) for part in _PARAGRAPH.split(value.strip()))


def _split(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _versions(value: object, notes: list[str]) -> list[str]:
    """The time of each version, ISO 8601; none when any of them cannot be read."""
    if value is None:
        return []
    try:
        return [_moment(version["created"]) for version in value]  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError, IndexError, OverflowError):
        notes.append("versions")
        return []


def _moment(created: str) -> str:
    """`Mon, 2 Apr 2007 19:18:42 GMT`, as in mail."""
    return utc_timestamp(parsedate_to_datetime(created))
