"""How a table's vectors were made, in words for who finds the table alone; kept in the fence's JSON. Pure."""

from __future__ import annotations

import msgspec


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The model and its settings as the writer that made the table had them; empty where it did not know."""

    model: str = ""
    """The model's name on the hub."""
    revision: str = ""
    query_prompt: str = ""
    document_prompt: str = ""
    chunker: dict[str, str] = {}
    """Setting -> its value."""
    created: str = ""
    """ISO 8601, UTC."""
    version: str = ""
    """Of Cirrostream."""
