"""The model that a search needs: the one its user names, else the one that its table names.

A table may come from anybody. So of what it says only a hub's name, a commit and the chunker's numbers are used, the
name never means a folder on this machine, and before any weights are fetched the tag that follows from all this must
be the one in the table's fence. No model's code is ever run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.model_files import ModelFiles, resolve
from pipeline.settings import ModelSettings
from sinks.about import About, commit, named
from sinks.fence import Fence
from sinks.reader import refuse_other_model

CHUNKER = ("unit", "window_tokens", "overlap_tokens")


def files_for(fence: Fence, settings: ModelSettings, table: str, *, weights: bool = True) -> ModelFiles:
    """The files of the model that the table's vectors are of, as the user's settings or its own note name it.

    Raises:
        UsageError: another model was named, or the table names none that can be found here.
        TryAgain: the hub cannot be reached.
    """
    about = fence.about
    asked = about is not None and "model" not in settings.model_fields_set
    if about is not None and asked and named(about) is None and not Path(settings.model).is_dir():
        raise UsageError(_nameless(fence, about, table))
    chosen = settings_of(about, settings) if about is not None and asked else settings
    theirs = chosen is not settings
    files = resolve(chosen, weights=weights and not theirs, folders=not theirs)
    refuse_other_model(fence, files.tag, table)
    if theirs and weights and files.place == "hub":
        return resolve(chosen, weights=True, folders=False)
    return files


def settings_of(about: About, settings: ModelSettings) -> ModelSettings:
    """The settings with what the table says, where the user has set nothing; the same when it names no model."""
    name = named(about)
    if name is None:
        return settings
    said: dict[str, Any] = {"model": name, "revision": commit(about)}
    said |= {key: getattr(about, key) for key in CHUNKER}
    said = {key: value for key, value in said.items() if key not in settings.model_fields_set}
    try:
        checked = ModelSettings(**{key: getattr(settings, key) for key in CHUNKER} | said)
    except ValidationError:  # the numbers are nonsense; the fence's tag decides
        return settings
    return settings.model_copy(update={key: getattr(checked, key) for key in said})


def _nameless(fence: Fence, about: About, table: str) -> str:
    return (
        f"table {table} was made with {fence.model}, a model in a folder: give that folder (--model FOLDER), which "
        "the table does not name"
        if about.place == "folder"
        else f"table {table} was made with {fence.model}, and the model it names, {about.model[:100]!r}, is none of "
        "the hub's: give --model"
    )
