"""Rules of upkeep: which step is due when, told by what has happened since. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from pipeline.library_errors import MOST_PANICS
from pipeline.settings import MIB
from sinks.indexes import TAIL_ROWS, Found, Index, lacking, wanted
from sinks.merge import MERGE_TIMEOUT

KEEP_VERSIONS = max(timedelta(hours=1), 4 * MERGE_TIMEOUT)
"""Lance checks a merge for conflicts only against versions that still exist: with younger ones cleaned up, a writer
that slept wrote 300 rows twice."""

TMP_AGE_S = 24 * 3600.0
IDLE_S = 5.0
RETRY_S = 60.0
"""Until a step that failed is tried again."""
LONGEST_RETRY_S = 24 * 3600.0
LONGEST_REST_S = 6 * 3600.0
"""Between two optimizes, however long one takes, while rows have come."""


@dataclass(frozen=True, slots=True)
class UpkeepRules:
    """The rule for when a step is due. Rows count as often as they are written, dead ones too."""

    btree_merges: int = 20
    """Merges that the two BTREEs may miss: at 200 a merge takes 15 times as long, a rebuild takes 0.1 to 0.4 s."""
    btree_large_bytes: int = 96 * MIB
    """And bytes of large rows: a merge reads what a BTREE lacks, whole, which takes twice its size in memory."""
    optimize_rows: int = 200_000
    optimize_share: float = 1.0
    """And no sooner than after so many of the live rows: a table that doubles between two is written over twice in
    all, and its vector index is brought up to date as seldom."""
    optimize_merges: int = 300
    """Each merge leaves a fragment, and every read opens all of them."""
    optimize_seconds: float = 900
    words_seconds: float = 60
    """Longest that a row waits to be found by its words while little comes, for the full-text indexes lack it."""
    words_share: float = 0.05
    """Of the writer's time, at most, for optimizing so often: at a million rows one takes 20 s."""
    idle_share: float = 0.25
    """Of its time when nothing else is to do."""
    old_bytes: int = 4096 * MIB
    """And of the disk, for what these leave behind for an hour; of a large table, as many bytes as it has."""
    quiet_rows: int = 1_000
    """Rows of a merge up to which little comes: in a bulk load each has ten thousand."""
    idle_rows: int = 20_000
    """Rows that are worth an optimize as soon as nothing else is to do."""
    index_rows: int = 100_000
    """Live rows from which on a vector index pays: below, an exact search takes less than 0.1 s."""
    retrain_factor: float = 4
    """Growth after which the index is trained anew: one that grew by optimize alone has partitions of unlike size."""
    load_retrain_factor: float = 16
    """The same in a bulk load, which would have outgrown a new one soon: a training of 440,000 rows takes as long as
    writing 300,000."""
    search_index_seconds: float = 900
    """Longest that an index for searches may be missing during a load; without one it is made as soon as little
    comes."""
    backfill_rows: int = 10_000
    """Rows that get their derived columns in one turn."""
    backfill_seconds: float = 10
    """Time between two such turns during a load."""
    lease_share: float = 1.0
    """Bytes that old versions may take which readers have leases on, as a share of the table's."""
    gauge_seconds: float = 60
    search_seconds: float = 60
    search_share: float = 0.005
    """Of the writer's time, at most, for searches that nobody asked for."""


class UpkeepStep(Enum):
    """A step of upkeep, the more urgent first."""

    BTREE = "btree"
    OPTIMIZE = "optimize"
    INDEX = "index"
    SEARCH_INDEX = "search_index"
    SWEEP = "sweep"
    GAUGES = "gauges"
    MEASURE = "measure"
    SEARCH = "search"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Trouble:
    """The history of the index of one column."""

    failures: int = 0
    panics: int = 0
    until: float = float("-inf")
    """When it is tried again."""

    def more(self, now: float, *, panicked: bool) -> Trouble:
        """The same after one more failure: the wait doubles, up to a day."""
        wait = min(LONGEST_RETRY_S, RETRY_S * 2 ** min(self.failures, 20))
        return Trouble(self.failures + 1, self.panics + panicked, now + wait)


@dataclass(slots=True)
class State:
    """Events since each step; times are monotonic seconds, -inf for never."""

    merges: int = 0
    """Merges since the last rebuild of the BTREEs."""
    large_bytes: int = 0
    """Of the rows of these merges, what they had in memory beyond `BYTES_PER_ROW` each."""
    rows: int = 0
    """Rows written since the last optimize."""
    fragments: int = 0
    """Merges since the last optimize."""
    changed: float = float("-inf")
    optimized: float = float("-inf")
    swept: float = float("-inf")
    measured: float = float("-inf")
    next_search: float = float("inf")
    live_rows: int = 0
    table_bytes: int = 0
    leases: int = 0
    """Leases that held old versions at the last clean-up: when they have ended, it is due again."""
    trained_rows: int = 0
    """Live rows when the vector index was trained; 0: there is none."""
    last_rows: int = 0
    """Of the last merge."""
    optimize_took: float = 0
    rewritten: int = 0
    """Bytes that an optimize writes anew, however few rows are new."""
    columns: frozenset[str] = frozenset()
    texts: set[str] = field(default_factory=set)
    """Full-text columns with rows."""
    found: tuple[Found, ...] = ()
    """The table's indexes, when they were last looked at."""
    lacking: tuple[Index, ...] = ()
    """Indexes for searches that it should have besides; the next one to be made first."""
    lacking_since: float = float("inf")
    refused: set[str] = field(default_factory=set)
    """Columns whose index is not as it was asked for, or that LanceDB panics over: once more would do the same."""
    troubles: dict[str, Trouble] = field(default_factory=dict)
    """Of columns whose index could not be made."""
    suspects: set[str] = field(default_factory=set)
    """Names of indexes that may be damaged."""
    words_since: float = 0
    """Unix time since when the oldest row waits that words do not find; 0: none."""
    may_backfill: bool = False
    """False as soon as all rows have the derived columns of today's rules."""
    backfilling: bool = False
    """True while many rows are still to get theirs."""
    backfilled: float = float("-inf")
    measure: bool = False
    """A measurement is to be started, looked at, or noted (`sinks.measure.step`)."""
    later: dict[UpkeepStep, float] = field(default_factory=dict)
    """Steps that failed, and when to try again."""
    panics: dict[UpkeepStep, int] = field(default_factory=dict)
    """How often in a row LanceDB has panicked in a step."""

    def look(self, found: Iterable[Found], now: float) -> None:
        """Takes note of the indexes that there are, and of those that are lacking."""
        self.found = tuple(found)
        wants = (index for index in wanted(self.columns, self.texts) if index.column not in self.refused)
        # Those that failed come last, so that they do not keep the others from being made.
        self.lacking = tuple(sorted(lacking(wants, self.found), key=lambda index: self.trouble(index.column).failures))
        self.lacking_since = min(self.lacking_since, now) if self.lacking else float("inf")

    def trouble(self, column: str) -> Trouble:
        """The history of the index of this column."""
        return self.troubles.get(column, Trouble())

    def next_index(self, now: float) -> Index | None:
        """The index to be made next; None while all that are lacking have failed and wait."""
        return next((index for index in self.lacking if self.trouble(index.column).until <= now), None)

    def failed(self, column: str, now: float, *, panicked: bool) -> None:
        """Takes note that the index of this column could not be made."""
        self.troubles[column] = self.trouble(column).more(now, panicked=panicked)
        if self.troubles[column].panics >= MOST_PANICS:
            self.refused.add(column)
        self.look(self.found, now)


def due(state: State, rules: UpkeepRules, now: float) -> UpkeepStep | None:
    """The most urgent step to do now, if any: one that failed waits its turn. Pure."""
    return next((step for step in all_due(state, rules, now) if not _waits(state, step, now)), None)


def _waits(state: State, step: UpkeepStep, now: float) -> bool:
    if step is UpkeepStep.SEARCH_INDEX and not state.suspects and state.next_index(now) is None:
        return True
    return state.later.get(step, now) > now


def all_due(state: State, rules: UpkeepRules, now: float) -> list[UpkeepStep]:
    """All steps that are due, the most urgent first, those that failed among them. Pure."""
    conditions = {
        UpkeepStep.BTREE: _btree_due(state, rules, now),
        UpkeepStep.OPTIMIZE: _optimize_due(state, rules, now),
        UpkeepStep.INDEX: index_due(state, rules, now),
        UpkeepStep.SEARCH_INDEX: _search_index_due(state, rules, now),
        UpkeepStep.SWEEP: now - state.swept >= TMP_AGE_S,
        UpkeepStep.GAUGES: now - state.measured >= rules.gauge_seconds and state.changed >= state.measured,
        UpkeepStep.MEASURE: state.measure,
        UpkeepStep.SEARCH: now >= state.next_search and state.live_rows > 0,
        UpkeepStep.BACKFILL: _backfill_due(state, rules, now),
    }
    return [step for step, is_due in conditions.items() if is_due]


def quiet(state: State, rules: UpkeepRules, now: float) -> bool:
    """True while the writer has little to do: nothing comes, or few rows at a time. Pure."""
    return now - state.changed >= IDLE_S or state.last_rows <= rules.quiet_rows


def searchable(state: State) -> bool:
    """True when the table has all that searches want: columns and indexes, for every row. Pure."""
    lacking = state.lacking and state.live_rows  # of an empty table none is made
    return not lacking and not state.may_backfill and not state.words_since and not state.suspects


def optimize_wait(state: State, rules: UpkeepRules, now: float) -> float:
    """Seconds between two optimizes for new rows: as short as time and disk allow. Pure.

    An optimize writes the full-text indexes anew, and the small fragments of the table with them, for one new row too.
    So a few rows wait longer: searches read them. And where it takes minutes it may not have more than its share of
    the time, however long words wait.
    """
    few, idle = state.rows <= TAIL_ROWS, now - state.changed >= IDLE_S
    share = rules.idle_share if idle and not few else rules.words_share
    least = rules.optimize_seconds
    if not few and not state.backfilling and quiet(state, rules, now):
        disk = KEEP_VERSIONS.total_seconds() * state.rewritten / max(rules.old_bytes, state.table_bytes)
        least = min(least, max(rules.words_seconds, disk))
    return max(least, _rest(state, share))


def _rest(state: State, share: float) -> float:
    """Seconds after which an optimize has had no more than this share of the time."""
    return min(LONGEST_REST_S, state.optimize_took / share)


def _search_index_due(state: State, rules: UpkeepRules, now: float) -> bool:
    if state.suspects:
        return True
    if not state.lacking or not state.live_rows:
        return False
    if now - state.lacking_since >= rules.search_index_seconds:
        return True
    return quiet(state, rules, now) and not state.backfilling and now - state.lacking_since >= IDLE_S


def _backfill_due(state: State, rules: UpkeepRules, now: float) -> bool:
    if not state.may_backfill:
        return False
    return quiet(state, rules, now) or now - state.backfilled >= rules.backfill_seconds


def _btree_due(state: State, rules: UpkeepRules, now: float) -> bool:
    if state.large_bytes >= rules.btree_large_bytes:
        return True
    idle = now - state.changed >= IDLE_S
    return state.merges >= (max(1, rules.btree_merges // 4) if idle else rules.btree_merges)


def index_due(state: State, rules: UpkeepRules, now: float) -> bool:
    """True when the vector index is to be made, or trained anew. Pure."""
    factor = rules.retrain_factor if quiet(state, rules, now) else rules.load_retrain_factor
    return state.live_rows >= max(rules.index_rows, factor * state.trained_rows)


def _optimize_due(state: State, rules: UpkeepRules, now: float) -> bool:
    since = now - state.optimized
    enough = max(rules.optimize_rows, rules.optimize_share * state.live_rows)
    if state.rows >= enough or state.fragments >= rules.optimize_merges:
        return True
    if state.leases and since >= rules.optimize_seconds:
        return True
    if state.rows and since >= optimize_wait(state, rules, now):
        return True
    idle = now - state.changed >= IDLE_S and not state.backfilling
    if idle and state.rows >= rules.idle_rows and since >= _rest(state, rules.idle_share):
        return True
    # Old versions are cleaned up by optimize: once more when the last of them has come of age.
    old = state.changed + KEEP_VERSIONS.total_seconds()
    return state.optimized <= old <= now
