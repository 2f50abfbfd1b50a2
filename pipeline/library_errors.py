"""Errors of LanceDB, Arrow and tokenizers as one class, which can be caught where it can be meant.

Their errors are of many classes, and a panic in Rust code is no `Exception` at all: where it is not caught it ends the
process with a traceback and exit 1, which a supervisor takes for final.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import CirrostreamError, Fatal, is_fault, is_panic, one_line

MOST_PANICS = 3
"""Panics in a row of the same step that end a process. One may come of a change by somebody else and be over; after
that what the library holds in memory is not to be trusted, and only a new process has it anew."""


class LibraryError(Exception):
    """An error of a library in one line, for the code that knows what it had asked for. No user sees it as it is."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(one_line(cause))
        self.cause = cause

    @property
    def panicked(self) -> bool:
        return is_panic(self.cause)

    def says(self, mark: str) -> bool:
        """True when the library's whole text has these words."""
        return mark in str(self.cause)


@contextmanager
def library_errors() -> Iterator[None]:
    """Turns what a library throws in this block into a LibraryError.

    Ours passes as it is, and so do what asks to end (Ctrl-C), a lack of memory, and the classes that a mistake in our
    own code has (TypeError, KeyError …): those are no news of the library.
    """
    try:
        yield
    except BaseException as error:
        if not _is_of_library(error):
            raise
        raise LibraryError(error) from error


def panic_line(what: str, step: str, error: LibraryError) -> Fatal:
    """The end of a process in whose `step` on `what` a library panics again and again."""
    return Fatal(
        f"{what}: {step} makes a library written in Rust panic, again and again ({error}); nothing was lost. The lines "
        "above say where in it. A new process may do better; else see `python -m deploy.doctor --only table`, "
        "upgrade or downgrade lancedb, and report it"
    )


def _is_of_library(error: BaseException) -> bool:
    if isinstance(error, CirrostreamError | MemoryError) or not is_fault(error):
        return False
    if isinstance(error, RuntimeError | ValueError | OSError) or is_panic(error):
        return True
    # PyO3 raises bare Exceptions too, and some of Arrow's errors have no other class above them.
    return type(error) is Exception or type(error).__module__.partition(".")[0] in ("pyarrow", "lancedb")
