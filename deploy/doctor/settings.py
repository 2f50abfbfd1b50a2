"""The settings of the doctor: those of the run that it is asked about, and how strict to be."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from deploy.local.run_settings import RunSettings
from pipeline.settings import DType
from sinks.fence import VectorType

FAMILIES = ("packages", "kafka", "model", "topics", "gpu", "table", "disk", "system")
"""In the order in which they are looked at: the topics' names have the model in them."""


def _families(value: str) -> str:
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name.partition(".")[0] not in FAMILIES:
            raise ValueError(f"of {', '.join(FAMILIES)}, or a check's whole name, with commas between them")
    return ",".join(names)


class DoctorSettings(RunSettings):
    """Settings of `python -m deploy.doctor`: the run's, and its own."""

    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto: the first GPU, else the CPU.")
    dtype: DType = Field("auto", description="Precision; auto: the fastest that keeps cosine >= 0.999 to fp32.")
    vector_type: VectorType = Field("f32", description="Type of the vectors in a new table; f16 takes half the room.")
    only: Annotated[str, AfterValidator(_families)] = Field(
        "", description="Only these checks, such as kafka,model.files, and those that they need."
    )
    strict: bool = Field(False, description="Warnings count as failures.")
    write: bool = Field(False, description="Allow a topic of the doctor's own, deleted at once, to compare clocks.")
