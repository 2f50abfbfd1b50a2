"""Numbers of a wiki's namespaces, as they are given to a flag."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _sorted(value: str) -> str:
    try:
        numbers = sorted({int(number) for number in value.split(",")})
    except ValueError:
        raise ValueError("numbers with commas between them, such as 0,14") from None
    return ",".join(map(str, numbers))


Namespaces = Annotated[str, AfterValidator(_sorted)]
"""Such as `0,14`."""


def numbers_of(namespaces: str) -> frozenset[int]:
    return frozenset(int(number) for number in namespaces.split(","))
