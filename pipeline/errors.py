"""The vocabulary of failure: what an error means decides how the process ends.

A supervisor restarts a process that ends with `Exit.FATAL` or `Exit.TRY_AGAIN`; the other codes are final.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar

from pipeline.addresses import without_secrets


class Exit(IntEnum):
    """Exit codes of every command, after BSD's sysexits where it has a word for the case."""

    DONE = 0
    CHECK_FAILED = 1
    USAGE = 2
    REPLACED = 3
    FATAL = 70
    TRY_AGAIN = 75


class CirrostreamError(Exception):
    """An error whose message is for the operator: what happened, to what, and what to do.

    It goes into logs, reports and dead letters, so no address in it keeps its password.
    """

    exit_code: ClassVar[Exit] = Exit.FATAL

    def __init__(self, message: object = "", *rest: object) -> None:
        super().__init__(without_secrets(message) if isinstance(message, str) else message, *rest)


class Stopped(Exception):
    """Work was broken off, because the process is to end: no error, and no outcome of the work."""


class Fatal(CirrostreamError):
    """Going on would break a guarantee; a restart helps only after somebody has acted."""


class Forbidden(Fatal):
    """Kafka does not allow this user what was asked: an administrator must grant it."""


class TryAgain(CirrostreamError):
    """A dependency is away or too slow; a restart may find it back."""

    exit_code = Exit.TRY_AGAIN


class WorkFailed(TryAgain):
    """The work in hand may have done it, by itself or by what it met: another try, record by record, will tell."""


class Replaced(CirrostreamError):
    """Another process has taken this one's place; a restart would fight it."""

    exit_code = Exit.REPLACED


class UsageError(CirrostreamError):
    """The command line or the environment is wrong."""

    exit_code = Exit.USAGE


class CheckFailed(CirrostreamError):
    """A check that was asked for did not hold."""

    exit_code = Exit.CHECK_FAILED


def is_fault(error: BaseException) -> bool:
    """Tells what went wrong from what asks to end, such as Ctrl-C, after `except BaseException`.

    A panic in Rust code (tokenizers, LanceDB) is no `Exception`.
    """
    return isinstance(error, Exception) or is_panic(error)


def is_panic(error: BaseException) -> bool:
    """True when Rust code has panicked.

    PyO3 derives PanicException from BaseException, with a class of its own in each library, none of which can be
    imported; its runtime for asynchronous calls, which LanceDB uses, has RustPanic.
    """
    return type(error).__name__ in ("PanicException", "RustPanic")


MOST_CHARACTERS = 300
"""Of a library's error in a line of ours; some of them print what they were given."""


def one_line(error: BaseException) -> str:
    """An error as one line: the message of one of ours; of any other its class, then the first line of its text.

    No address in it keeps its password.
    """
    text = without_secrets(str(error)).strip()
    if isinstance(error, CirrostreamError) and text:
        return text
    name = type(error).__name__
    line = text.splitlines()[0] if text else ""
    said = line if line.startswith(name) else f"{name}: {line}" if line else name
    return said if len(said) <= MOST_CHARACTERS else said[: MOST_CHARACTERS - 1] + "…"


@contextmanager
def faults_as(kind: type[CirrostreamError], what: str) -> Iterator[None]:
    """Tells a fault of a library as an error of ours: what could not be done, and the library's error in one line."""
    try:
        yield
    except BaseException as error:
        if not is_fault(error):
            raise
        raise kind(f"{what}: {one_line(error)}") from error
