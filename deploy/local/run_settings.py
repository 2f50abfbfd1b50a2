"""The settings of the commands that start stages: those of the stages too, which get them from here."""

from __future__ import annotations

from functools import cache
from typing import Annotated, ClassVar, TypeVar, cast

from pydantic import AfterValidator, Field, create_model, field_validator

from pipeline.settings import ModelSettings, TableSettings
from producers.run.choice import DOWNLOADED
from producers.run.source import MODULES, FileSettings, Source, source_named

NOT_FOR_STAGES = frozenset(
    {"source", "sources", "chunkers", "embedders", "follow", "estimate", "json_output", "announce_dir", "ready_seconds"}
    | {"monitor", "scrape_seconds", "until_drained", "drained_seconds"}
)


def _replicas(value: str) -> str:
    if value != "auto" and not (value.isdigit() and int(value) <= 256):
        raise ValueError("a number up to 256, or auto")
    return value


def _source(value: str) -> str:
    if value and value not in MODULES:
        raise ValueError(f"one of {', '.join(MODULES)}")
    return value


def _some_replicas(value: str) -> str:
    if value == "0":
        raise ValueError("a number from 1 to 256, or auto")
    return value


Replicas = Annotated[str, AfterValidator(_replicas)]


class SupervisedSettings(ModelSettings):
    """Settings of every command that supervises stages. A stage's own settings (CIRROSTREAM_DEVICE, CIRROSTREAM_DTYPE,
    …) reach it through the environment."""

    chunkers: int = Field(1, ge=1, le=256, description="Replicas of the chunk stage.")
    embedders: Replicas = Field(
        "auto", description="Replicas of the embed stage; auto: one a GPU, one where there is none."
    )
    monitor: bool = Field(False, description="Start Prometheus, when it is on the PATH, and the exporter of the lag.")
    scrape_seconds: int = Field(5, ge=1, le=30, description="With --monitor: how often Prometheus asks every process.")

    @field_validator("embedders", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    def for_stages(self) -> dict[str, str]:
        """The chosen settings, as environment variables for the stages' processes; defaults are theirs to know."""
        chosen = self.model_fields_set - NOT_FOR_STAGES
        values = {name: getattr(self, name) for name in sorted(chosen)}
        return {f"CIRROSTREAM_{name}".upper(): str(value) for name, value in values.items() if value is not None}


class RunSettings(FileSettings, SupervisedSettings, TableSettings):
    """Settings of `python -m deploy.local run`, but for those of the source that reads the files; see `of_source`."""

    SOURCE: ClassVar[str] = DOWNLOADED

    source: Annotated[str, AfterValidator(_source)] = Field(
        "", description="Source that reads the files, such as jsonl; unset: the one that their names are of."
    )
    embedders: Annotated[Replicas, AfterValidator(_some_replicas)] = Field(
        "auto", description="Replicas of the embed stage; auto: one a GPU, one where there is none."
    )
    follow: bool = Field(False, description="Go on after the source's end, until Ctrl-C.")
    rebuild: bool = Field(False, description="Once, where the table is gone or is another: fill it from `pages` again.")
    adopt: bool = Field(False, description="Once, after Kafka's topics were made anew: fill the old table on.")
    ready_seconds: float = Field(
        300, ge=0, description="Longest wait, once all pages are in, for the table's indexes and measurements; 0: none."
    )
    estimate: bool = Field(True, description="Estimate pages, rows, disk and hours first, and check the disk.")

    @property
    def reads(self) -> Source[FileSettings]:
        """The source whose settings these are as well."""
        return source_named(self.SOURCE)


R = TypeVar("R", bound=RunSettings)


@cache
def of_source(settings: type[R], name: str) -> type[R]:
    """These settings together with those of the source of this name."""
    source = source_named(name)
    made = create_model(settings.__name__, __base__=(settings, source.settings), __module__=f"{__name__}.{name}")
    composed = cast("type[R]", made)
    composed.SOURCE = name
    return composed


class WorkersSettings(SupervisedSettings):
    """Settings of `python -m deploy.local workers`."""

    chunkers: int = Field(
        0, ge=0, le=256, description="Replicas of the chunk stage; a rented GPU host is for embedding, so none."
    )
    until_drained: bool = Field(False, description="End with 0 when there has been nothing to do for a while.")
    drained_seconds: float = Field(
        60, gt=0, le=86_400, description="With --until-drained: how long a while is. It counts from the start on, too."
    )


class DemoSettings(ModelSettings, TableSettings):
    """Settings of `python -m deploy.local demo`."""
