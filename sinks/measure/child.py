"""The process that measures, started by the table's writer (`process.py`): one JSON document on stdout, then its end.

By hand: `python -m sinks.measure`. This one is out of everybody's way: the lowest priority, one thread for the model, a
bound on its memory, and an end with its parent or at its time limit.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from contextlib import suppress

import msgspec
from pydantic import ValidationError

from pipeline import logs
from pipeline.child_limits import bound_memory, die_first, end_with_parent
from pipeline.errors import CirrostreamError, Exit, one_line
from sinks.measure.opening import measured_table
from sinks.measure.settings import MeasureSettings

LOWEST_PRIORITY = 19
GRACE_SECONDS = 60.0
"""For what has no time limit of its own: loading the model, one slow query."""


def main() -> int:
    """Measures, and writes what was found; the exit code, with the reason on stderr."""
    end_with_parent()
    die_first()
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not spoil the document
    logs.configure()
    with suppress(OSError):
        os.nice(LOWEST_PRIORITY)
    try:
        settings = MeasureSettings()
        faulthandler.dump_traceback_later(settings.measure_seconds + GRACE_SECONDS, exit=True)
        bound_memory(settings.measure_bytes)
        measured = measured_table(settings)
    except ValidationError as error:
        return _refused(one_line(error), Exit.USAGE)
    except CirrostreamError as error:
        return _refused(str(error), error.exit_code)
    with os.fdopen(out, "wb") as document:
        document.write(msgspec.json.encode(measured))
    return Exit.DONE


def _refused(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)  # noqa: T201 - for the parent, which puts it into its log
    return code


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # threads of LanceDB or of a late leg are not waited for
