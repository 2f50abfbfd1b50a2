"""The settings of a run: those of all stages, since it starts them all."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from pipeline.cli import ARGUMENT
from pipeline.settings import ModelSettings, TableSettings
from producers.cirrussearch.cirrus_settings import CirrusSettings

NOT_FOR_STAGES = frozenset({"sources", "chunkers", "embedders", "follow", "estimate", "json_output", "announce_dir"})


def _replicas(value: str) -> str:
    if value != "auto" and not (value.isdigit() and 1 <= int(value) <= 256):
        raise ValueError("a number from 1 to 256, or auto")
    return value


class RunSettings(CirrusSettings, ModelSettings, TableSettings):
    """What `python -m deploy.local run` takes. A stage's own settings (CIRROSTREAM_DEVICE, CIRROSTREAM_DTYPE,
    …) reach it through the environment."""

    sources: list[str] = Field(
        [], description="Dump files, folders of them, or globs.", json_schema_extra={ARGUMENT: True}
    )
    chunkers: int = Field(1, ge=1, le=256, description="Replicas of the chunk stage.")
    embedders: Annotated[str, AfterValidator(_replicas)] = Field(
        "auto", description="Replicas of the embed stage; auto: one a GPU, one where there is none."
    )
    follow: bool = Field(False, description="Go on after the source's end, until Ctrl-C.")
    rebuild: bool = Field(False, description="Once, where the table is gone or is another: fill it from `pages` again.")
    adopt: bool = Field(False, description="Once, after Kafka's topics were made anew: fill the old table on.")
    estimate: bool = Field(True, description="Estimate pages, rows, disk and hours first, and check the disk.")

    @field_validator("embedders", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    def for_stages(self) -> dict[str, str]:
        """What was chosen, as environment variables for the stages' processes; defaults are theirs to know."""
        chosen = self.model_fields_set - NOT_FOR_STAGES
        values = {name: getattr(self, name) for name in sorted(chosen)}
        return {f"CIRROSTREAM_{name}".upper(): str(value) for name, value in values.items() if value is not None}


class DemoSettings(ModelSettings, TableSettings):
    """What `python -m deploy.local demo` takes."""
