"""Time limits of chunking, which grow with the page."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.chunk_protocol import PageRecord

LEAST_SECONDS = 10.0
"""A page of 8 KB takes 2.5 ms; a machine may have other things to do, or stand still for a while."""

BYTES_PER_SECOND = 50_000
"""The slowest text found, full stops without end, takes a tenth of the time that this allows (bench.chunk --slow)."""

SHARE_OF_MEMORY = 0.5
"""Of the container's or the machine's memory. Kubernetes ends all of a container when it needs more than its limit, so
a page must fail before: 8 MB of prose take 160 MB, 8 MB of full stops 700 MB."""

TRIES_ALONE = 3
"""A page is a dead letter when so many processes ended over it, one after the other, with nothing else in hand."""

START_SECONDS = 60.0
"""Python, the tokenizer's file, and a machine that has other things to do; 0.5 s on an idle one."""


def seconds_for(records: Sequence[PageRecord]) -> float:
    """Seconds that chunking these may take; then the process is killed."""
    return LEAST_SECONDS + sum(record.size for record in records) / BYTES_PER_SECOND


def alarm_seconds(records: Sequence[PageRecord]) -> float:
    """Seconds after which the process ends itself, for a parent that is gone: later than a parent would end it."""
    return 2 * seconds_for(records)


def most_seconds(records: Sequence[PageRecord]) -> float:
    """After so long, all tries and the starts of their processes included, one of these must be finished."""
    tries = TRIES_ALONE * (START_SECONDS + max((seconds_for([record]) for record in records), default=0.0))
    return seconds_for(records) + tries
