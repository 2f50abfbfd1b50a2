"""The name of a wiki, or of another corpus, as a setting."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from pipeline.records import valid_wiki


def _wiki(value: str) -> str:
    if not valid_wiki(value):
        raise ValueError("not a wiki's name, such as simplewiki: a small letter or digit, then these, '_' and '-'")
    return value


WikiName = Annotated[str, AfterValidator(_wiki)]
WikiNameOrNone = Annotated[str, AfterValidator(lambda value: _wiki(value) if value else value)]
"""Empty: none is named."""
