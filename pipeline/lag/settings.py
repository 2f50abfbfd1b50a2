"""The settings of `python -m pipeline.lag`."""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from pipeline.cli import FLAG
from pipeline.settings import ModelSettings, ServiceSettings, TableSettings


class LagSettings(ServiceSettings, ModelSettings, TableSettings):
    """Settings of the lag exporter."""

    every: float = Field(5.0, ge=0.5, le=3600, description="Ask Kafka again after so many seconds.")
    keep_seconds: float = Field(
        60.0, gt=0, description="Show the last numbers for so long when Kafka does not answer; then none."
    )
    all_groups: bool = Field(
        False, description="Show every model and every table of this namespace, not only those of the settings."
    )
    rate_floor: float | None = Field(
        None, gt=0, description="Records a second that you expect at least; shown beside the lag, for alerts."
    )
    deadline: AwareDatetime | None = Field(
        None, description="When it must be done, such as 2026-12-01T06:00Z; shown beside the lag, for alerts."
    )
    once: bool = Field(False, description="Look once, print a table, and end.")
    json_output: bool = Field(
        False, description="Look once, and print one JSON document.", json_schema_extra={FLAG: "--json"}
    )

    @model_validator(mode="after")
    def _kept_until_the_next(self) -> Self:
        if self.keep_seconds <= self.every:
            raise ValueError(f"--keep-seconds {self.keep_seconds:g} must be more than --every {self.every:g}")
        return self
