"""The command line of the doctor."""

from __future__ import annotations

import logging
import os

from deploy.doctor import printing
from deploy.doctor.context import Context
from deploy.doctor.examination import checks, examine
from deploy.doctor.settings import DoctorSettings
from deploy.local.by_source import command_by_source
from pipeline import cli
from pipeline.errors import Exit
from pipeline.settings import chosen_log_level
from pipeline.terminal import say, write_json

app = cli.new_app("Looks for what would stop a run before it begins, and says what to type.")


@command_by_source(app, DoctorSettings)
def doctor(settings: DoctorSettings) -> int:
    """Looks for what would stop a run before it begins, and says what to type. Takes what `deploy.local run` takes.

    Ends with 1 when a check fails. Changes nothing but a file that it writes beside the table and deletes again.
    """
    _silence()
    results = []
    for result in examine(checks(settings.only), Context(settings)):
        results.append(result)
        if not settings.json_output:
            say(printing.lines(result))
    if settings.json_output:
        write_json(printing.document(results, strict=settings.strict))
    else:
        say(printing.total(results, strict=settings.strict))
    return Exit.CHECK_FAILED if printing.failures(results, strict=settings.strict) else Exit.DONE


def _silence() -> None:
    """A client logs every refused connection as an error; here that is what is being asked."""
    if chosen_log_level() != "DEBUG":
        logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    os.environ.setdefault("LANCEDB_LOG", "error")
