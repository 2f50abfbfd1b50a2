"""Makes the checks one after the other: each bounded in time, none able to end the examination."""

from __future__ import annotations

import importlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

from deploy.doctor.context import Context
from deploy.doctor.findings import Check, Finding, Result, Verdict, fail, skip
from deploy.doctor.settings import FAMILIES
from pipeline.errors import CirrostreamError, UsageError, is_fault, one_line
from pipeline.settings import chosen_log_level
from pipeline.terminal import say_aside

GOOD = (Verdict.OK, Verdict.WARN)


def checks(only: str = "") -> list[Check]:
    """The checks of these families or names, with all those that they need, in the order in which they are made; all
    without a choice.

    Only the families asked for are imported, as some of them load much. One whose packages are not all there is one
    check, which fails and names the package.

    Raises:
        UsageError: there is no such check.
    """
    names = [name for name in only.split(",") if name] or list(FAMILIES)
    loaded: dict[str, Sequence[Check]] = {}
    wanted: set[str] = set()
    for name in names:
        found = [check.name for check in _of_family(name, loaded) if name in (check.name, check.family)]
        if not found:
            there = ", ".join(check.name for check in _of_family(name, loaded))
            raise UsageError(f"--only {name}: there is no such check; there are {there}")
        wanted.update(found)
    while needed := {need for name in wanted for need in _needs(name, loaded)} - wanted:
        wanted |= needed
    return [check for family in FAMILIES for check in loaded.get(family, ()) if check.name in wanted]


def examine(chosen: Iterable[Check], context: Context) -> Iterator[Result]:
    """The results, each as soon as it is known. A check that did not get what it needs is skipped."""
    made: dict[str, Verdict] = {}
    try:
        for check in chosen:
            began = time.monotonic()
            missing = next((name for name in check.needs if made.get(name, Verdict.SKIP) not in GOOD), None)
            finding = skip(f"needs {missing}") if missing else bounded(check, context)
            made[check.name] = finding.verdict
            yield Result(check.name, finding, time.monotonic() - began)
    finally:
        if (cluster := context.cluster) is not None:
            _within(5.0, cluster.close)


def bounded(check: Check, context: Context) -> Finding:
    """The check's finding within its time; whatever it raises is a failure with the check's remedy."""
    answers: list[Finding] = []

    def ask() -> None:
        try:
            answers.append(check.look(context))
        except CirrostreamError as error:
            answers.append(fail(str(error), check.remedy))
        except ModuleNotFoundError as error:
            answers.append(_missing(error))
        except BaseException as error:  # one broken check must not hide what the others find
            if not is_fault(error):
                raise
            if chosen_log_level() == "DEBUG":
                say_aside(traceback.format_exc())
            answers.append(fail(one_line(error), check.remedy))

    _within(check.limit_s, ask)
    return answers[0] if answers else fail(f"no answer within {check.limit_s:g} s", check.remedy)


def _within(limit_s: float, ask: Callable[[], object]) -> None:
    """Waits so long and no longer: Python cannot end a thread that hangs in a library, only leave it behind."""
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit_s)


def _of_family(name: str, loaded: dict[str, Sequence[Check]]) -> Sequence[Check]:
    family = name.partition(".")[0]
    if family not in loaded:
        loaded[family] = _load(family)
    return loaded[family]


def _needs(name: str, loaded: dict[str, Sequence[Check]]) -> Sequence[str]:
    """The checks that a check needs; a family that cannot be loaded has none of them."""
    return next((check.needs for check in _of_family(name, loaded) if check.name == name), ())


def _load(family: str) -> Sequence[Check]:
    try:
        module = importlib.import_module(f"deploy.doctor.{family}")
    except ModuleNotFoundError as error:
        finding = _missing(error)
        return [Check(f"{family}.packages", lambda _: finding, finding.remedy)]
    found: Sequence[Check] = module.CHECKS
    return found


def _missing(error: ModuleNotFoundError) -> Finding:
    name = (error.name or "?").partition(".")[0]
    return fail(f"cannot be checked: the package {name} is missing", "make setup, or: pip install 'cirrostream[demo]'")
