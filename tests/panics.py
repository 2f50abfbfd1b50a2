"""A panic in Rust code, as Python code meets it."""

from __future__ import annotations


class PanicException(BaseException):
    """As PyO3 names the class that each of its libraries has of its own."""


def panic(*_: object, **__: object) -> None:
    raise PanicException("called `Option::unwrap()` on a `None` value")
