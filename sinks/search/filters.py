"""Filters: which rows a search looks at, as typed values and as the condition that LanceDB is given. Pure.

Several values of one field mean any of them, several fields mean all of them. A value gets into the condition as a
number or inside a literal of `storage.quoted`, and nothing else of the user's does. The forms are those that the
table's scalar indexes serve: equality, ranges of the plain column, `array_has_any` for label lists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pipeline.errors import UsageError
from pipeline.records import utc_timestamp, valid_wiki
from sinks.derived import MAX_FACET, facet
from sinks.languages import counts_as
from sinks.storage import quoted

MAX_VALUES = 100
"""Values of one field: a condition of thousands is a mistake, and each costs time."""
MAX_VALUE = 1_000
"""Characters of one value."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,16}(?:[-_][A-Za-z0-9]{1,16}){0,4}")
_SNAPSHOT = re.compile(r"\d{8}")
_DAY = len("2026-11-15")
_INT32 = range(-(1 << 31), 1 << 31)

Values = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The rows to search; without a value, all of them. A single value may stand for a sequence of one.

    Raises:
        UsageError: a value is of another type or form than its field; it names the flag, and what to give.
    """

    wiki: Sequence[str] = ()
    """Names such as `enwiki`."""
    language: Sequence[str] = ()
    """Codes such as `de`; `pt` finds `pt-BR` too."""
    category: Sequence[str] = ()
    """Names as they stand in the table, letter by letter."""
    since: str | None = None
    until: str | None = None
    """First and last moment of a page's `timestamp`, as ISO 8601 date (the whole day) or date and time (UTC where it
    has no zone). A page without timestamp is in no period."""
    min_popularity: float | None = None
    """A page without `popularity_score` is not popular."""
    namespace: int | Sequence[int] = ()
    snapshot: Sequence[str] = ()
    """Dates of dumps, YYYYMMDD or YYYY-MM-DD."""
    metadata: Mapping[str, Values | Sequence[Values]] = field(default_factory=dict)
    """Plain fields of own documents: name -> value, or several."""

    def __post_init__(self) -> None:
        since = None if self.since is None else _moment("--since", self.since)
        until = None if self.until is None else _moment("--until", self.until)
        if since is not None and until is not None and since > _last(until):
            raise UsageError(f"--since {since} is later than --until {until}: no page can be in both")
        checked = {
            "wiki": tuple(_wiki(name) for name in _texts("--wiki", self.wiki)),
            "language": tuple(_language(code) for code in _texts("--language", self.language)),
            "category": tuple(_texts("--category", self.category)),
            "since": since,
            "until": until,
            "min_popularity": _number(self.min_popularity),
            "namespace": tuple(_namespace(number) for number in _several("--page-namespace", self.namespace)),
            "snapshot": tuple(_snapshot(text) for text in _texts("--snapshot", self.snapshot)),
            "metadata": _metadata(self.metadata),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Filters:
        """The filters of a mapping from outside, such as a JSON object.

        Raises:
            UsageError: it names a field that there is not, or one has a wrong value.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise UsageError(f"there is no filter {str(name)[:50]!r}: there are {', '.join(known)}")
        return cls(**given)

    def condition(self) -> str | None:
        """The rows as a condition for LanceDB's prefilter; None: all rows."""
        return " AND ".join(self._conditions()) or None

    def columns(self) -> tuple[str, ...]:
        """The columns that the condition reads; a table made by an older version may lack `facets`."""
        places = {"category": "categories", "since": "timestamp", "until": "timestamp", "metadata": "facets"}
        places["min_popularity"] = "popularity_score"
        return tuple(dict.fromkeys(places.get(name, name) for name in self.shown()))

    def shown(self) -> dict[str, Any]:
        """The fields that have a value, as they go into a JSON document."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        chosen = {name: value for name, value in values if value not in (None, (), {})}
        return {name: _plain(value) for name, value in chosen.items()}

    def __bool__(self) -> bool:
        return bool(self.shown())

    def _conditions(self) -> Iterator[str]:
        for column, names in (("wiki", self.wiki), ("snapshot", self.snapshot)):
            if names:
                yield f"{column} IN ({_list(names)})"
        if self.language:
            yield _any_of(_language_conditions(self.language))
        if self.category:
            yield f"array_has_any(categories, [{_list(self.category)}])"
        if self.since is not None or self.until is not None:
            # '0' is below every date and above the empty string of a page that has none.
            yield f"timestamp >= {quoted((self.since or '0').removesuffix('Z'))}"
        if self.until is not None:
            yield f"timestamp <= {quoted(_last(self.until))}"
        if self.min_popularity is not None:
            yield f"popularity_score >= {self.min_popularity!r}"
        if isinstance(self.namespace, Sequence) and self.namespace:
            yield f"namespace IN ({', '.join(str(int(number)) for number in self.namespace)})"
        for key, values in self.metadata.items():
            facets = [_facet(key, value) for value in _several("--metadata", values)]
            yield f"array_has_any(facets, [{_list(facets)}])"


def metadata_of(pairs: Sequence[str]) -> dict[str, list[str]]:
    """The metadata filter of flags: `KEY=VALUE` each; a key that comes twice means either value.

    Raises:
        UsageError: a pair has no `=`, or nothing before or behind it.
    """
    found: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--metadata {pair[:80]!r}: give a field of the documents and its value, as year=2024")
        found.setdefault(key, []).append(value)
    return found


def _language_conditions(codes: Sequence[str]) -> Iterator[str]:
    """The codes in every form that a source may have, and what follows them with a hyphen: '.' is the character after.

    As `languages.language_of` shows them: `no` is `nb` and `nn`, too, and where the source says none, the wiki tells.
    """
    for code in dict.fromkeys(form for given in codes for form in _forms(given)):
        yield f"language = {quoted(code)}"
        yield f"(language >= {quoted(code + '-')} AND language < {quoted(code + '.')})"
    for code in dict.fromkeys(form for given in codes for form in _forms(given) if form.isalpha() and form.islower()):
        wiki = f"wiki >= {quoted(code + 'wik')} AND wiki < {quoted(code + 'wil')}"  # no LIKE: an index serves ranges
        yield f"((language IS NULL OR language = '') AND {wiki})"


def _forms(given: str) -> tuple[str, ...]:
    """A code as it is, with hyphens, in small letters, with its country in capitals, and those that count as it."""
    hyphens = given.replace("_", "-")
    base, _, rest = hyphens.partition("-")
    country = f"{base.lower()}-{rest.upper() if len(rest) == 2 else rest.title()}" if rest else base.lower()
    return (given, hyphens, hyphens.lower(), country, *counts_as(hyphens.lower()))


def _any_of(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"


def _several(flag: str, given: object) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes, int, float)):
        return (given,)
    if not isinstance(given, (Sequence, set, frozenset)):
        raise UsageError(f"{flag}: a value or a list of values, not {type(given).__name__}")
    if len(given) > MAX_VALUES:
        raise UsageError(f"{flag} has {len(given)} values, at most {MAX_VALUES} are allowed")
    return tuple(given)


def _texts(flag: str, given: object) -> Iterator[str]:
    return (_text(flag, value) for value in _several(flag, given))


def _text(flag: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{flag} {_short(value)} is no text")
    if not value:
        raise UsageError(f"{flag} is empty: give a value, or leave it out")
    if len(value) > MAX_VALUE:
        raise UsageError(f"{flag} has {len(value)} characters, at most {MAX_VALUE} are allowed")
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, of a terminal that is not UTF-8
        raise UsageError(f"{flag} {_short(value)} is no text in UTF-8: does the terminal send another?") from None
    return value


def _wiki(name: str) -> str:
    if not valid_wiki(name):
        raise UsageError(f"--wiki {_short(name)} is not a wiki's name such as enwiki")
    return name


def _language(code: str) -> str:
    if not _LANGUAGE.fullmatch(code):
        raise UsageError(f"--language {_short(code)} is not a language's code such as de")
    return code


def _snapshot(text: str) -> str:
    digits = text.replace("-", "") if len(text) == _DAY else text
    if not (_SNAPSHOT.fullmatch(digits) and digits.isascii()):
        raise UsageError(f"--snapshot {_short(text)} is not a dump's date such as 20261115")
    return digits


def _namespace(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number not in _INT32:
        raise UsageError(f"--page-namespace {_short(number)} is not a namespace's number such as 0")
    return int(number)


def _number(value: object) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"--min-popularity {_short(value)} is not a number such as 0.0001")
    return number


def _moment(flag: str, text: object) -> str:
    """The date, or the date and time in UTC to the second, as timestamps in the table are written."""
    try:
        given = _text(flag, text).strip()
        if len(given) <= _DAY:
            return date.fromisoformat(given).isoformat()
        moment = datetime.fromisoformat(given)
        if moment.microsecond and flag == "--since":
            moment = moment.replace(microsecond=0) + timedelta(seconds=1)
        return utc_timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{flag} {_short(text)} is no date: give one as 2026-11-15, or a date and time as 2026-11-15T12:00:00Z"
        ) from None


def _last(until: str) -> str:
    """The greatest timestamp that is not later: those with a zone sort behind those without."""
    return f"{until}T{time(23, 59, 59)}Z" if len(until) == _DAY else until


def _metadata(given: object) -> dict[str, tuple[Values, ...]]:
    if not isinstance(given, Mapping):
        raise UsageError(f"--metadata: fields and their values, not {type(given).__name__}")
    if len(given) > MAX_VALUES:
        raise UsageError(f"--metadata has {len(given)} fields, at most {MAX_VALUES} are allowed")
    made: dict[str, tuple[Values, ...]] = {}
    for key, values in given.items():
        name = _text("--metadata", key)
        made[name] = _several("--metadata", values)
        for value in made[name]:
            _facet(name, value)
    return {name: values for name, values in made.items() if values}


def _facet(key: str, value: object) -> str:
    too_long = isinstance(value, int) and value.bit_length() > 4 * MAX_FACET
    endless = isinstance(value, float) and not math.isfinite(value)
    made = None if too_long or endless else facet(key, value)
    if made is None:
        raise UsageError(
            f"--metadata {key[:50]}={_short(value)}: give a text, a number, true or false; "
            f"together with the field's name at most {MAX_FACET - 1} characters"
        )
    return _text("--metadata", made)


def _list(texts: Sequence[str]) -> str:
    return ", ".join(map(quoted, texts))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _short(value: object) -> str:
    try:
        said = repr(value)
    except ValueError:  # a number of more digits than Python writes
        said = f"a {type(value).__name__}"
    return said if len(said) <= 80 else said[:80] + "…"
