"""Running the legs of a question, each in a thread, until they are done or it is late."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, wait

from pipeline.errors import is_fault, one_line
from sinks.search.answers import LegReport
from sinks.search.fusion import Candidate, Leg

Timed = tuple[list[Candidate], float]


def run_legs(
    pools: Mapping[str, Executor], work: Mapping[Leg, Callable[[], list[Candidate]]], late: float | None
) -> tuple[dict[Leg, list[Candidate]], list[LegReport]]:
    """The candidates of each leg that answered in time, and a report of every one.

    Args:
        pools: leg -> the threads that it may take.
        late: `time.perf_counter()` of the deadline; None: there is none.

    Raises:
        CirrostreamError: no leg found anything, and this one failed first: that nothing is there cannot be said. So
            is any other error of it, which would be a bug.
    """
    runs = {leg: pools[leg].submit(_timed, task) for leg, task in work.items()}
    wait(runs.values(), None if late is None else max(0.0, late - time.perf_counter()))
    found: dict[Leg, list[Candidate]] = {}
    reports, errors = [], []
    for leg, run in runs.items():
        if not run.done():
            run.cancel()
            reports.append(LegReport(name=leg, state="late", why="had not answered at the deadline"))
            continue
        try:
            found[leg], seconds = run.result()
        except BaseException as error:
            if not is_fault(error):
                raise
            errors.append(error)
            why = one_line(error)
            reports.append(LegReport(name=leg, state="failed", why=why))
        else:
            reports.append(LegReport(name=leg, state="ran", seconds=round(seconds, 4), candidates=len(found[leg])))
    if errors and not any(found.values()):
        raise errors[0]
    return found, reports


def _timed(task: Callable[[], list[Candidate]]) -> Timed:
    start = time.perf_counter()
    return task(), time.perf_counter() - start
