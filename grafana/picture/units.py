"""Numbers as Grafana shows them, by its names of units."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((86_400 * 365, "years"), (86_400, "d"), (3_600, "h"), (60, "min"))
_RATES = {
    "reqps": "req/s",
    "ops": "ops/s",
    "rps": "reads/s",
    "wps": "writes/s",
    "cps": "/s",
    "cpm": "/min",
    "eps": "/s",
    "pps": "/s",
    "mps": "/s",
}


def shown(value: float, unit: str) -> str:
    """The number with its unit; what a unit of Grafana's means that is not known here is left to the reader."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    writer = _WRITERS.get(unit)
    return writer(value) if writer is not None else _other(value, unit)


def _other(value: float, unit: str) -> str:
    if unit.startswith("suffix:"):
        return f"{scaled(value)}{_spaced(unit.removeprefix('suffix:'))}"
    if unit in _RATES:
        return f"{scaled(value)} {_RATES[unit]}"
    return scaled(value)


def _spaced(suffix: str) -> str:
    return suffix if suffix[:1] in (" ", "/", "%") else f" {suffix}"


def scaled(value: float) -> str:
    """Three digits and a power of a thousand."""
    for least, name in _SCALES:
        if abs(value) >= least:
            return f"{value / least:.3g} {name}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for least, name in _BINARY:
        if abs(value) >= least:
            return f"{value / least:.3g} {name}"
    return f"{value:.3g} B"


def _seconds(value: float) -> str:
    for least, name in _TIMES:
        if abs(value) >= least:
            return f"{value / least:.3g} {name}"
    if 0 < abs(value) < 0.001:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"


def _date(milliseconds: float) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"


_WRITERS: dict[str, Callable[[float], str]] = {
    "s": _seconds,
    "dtdurations": _seconds,
    "ms": lambda value: _seconds(value / 1000),
    "bytes": _bytes,
    "decbytes": _bytes,
    "Bps": lambda value: f"{_bytes(value)}/s",
    "binBps": lambda value: f"{_bytes(value)}/s",
    "percentunit": lambda value: f"{100 * value:.3g} %",
    "percent": lambda value: f"{value:.3g} %",
    "celsius": lambda value: f"{value:.3g} °C",
    "dateTimeAsIso": _date,
    "dateTimeFromNow": _date,
    "dateTimeAsIsoNoDateIfToday": _date,
}
