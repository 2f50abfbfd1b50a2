"""Every setting: declared once, given as a flag or as an environment variable.

A command declares a class with what it needs; `pipeline.cli` makes its flags from the same fields. A field's
description is its `--help` text. Secrets have no flag: a command line is visible to everybody on the machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Unit = Literal["window", "lead", "page"]
DType = Literal["auto", "fp32", "bf16", "fp16"]

MIB = 1024 * 1024


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", value):
        raise ValueError("letters, digits, '_' and '-' only, at most 100")
    return value


def _namespace(value: str) -> str:
    return _name(value) if value else value


Name = Annotated[str, AfterValidator(_name)]


class KafkaSettings(BaseSettings):
    """Which cluster, and how to get in. Read from the environment, with the names that Kafka's own tools use."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_", extra="ignore", frozen=True)

    bootstrap_servers: str = ""
    """`host:port,…`; empty: the local Kafka whose address is in the data folder."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None


class Settings(BaseSettings):
    """What every command that touches the pipeline takes."""

    model_config = SettingsConfigDict(env_prefix="CIRROSTREAM_", extra="ignore", frozen=True)

    data_dir: Path = Field(Path("data"), description="Folder for the local Kafka, the table, logs and reports.")
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        "", description="Prefix of all topics and groups, for several pipelines on one cluster."
    )
    partitions: int = Field(32, ge=1, le=10_000, description="Partitions of every topic; fixed when they are made.")
    replication: int = Field(
        0, ge=0, le=10, description="Replicas of every topic; 0: 3 where there are that many brokers, else 1."
    )


class ServiceSettings(Settings):
    """What every long-running process takes."""

    metrics_host: str = Field("127.0.0.1", description="Address that /metrics and /healthz are served on.")
    metrics_port: int = Field(9400, ge=0, le=65_535, description="Port for them; taken: the next free one; 0: any.")
    announce_dir: Path | None = Field(None, description="Folder to announce the metrics address in, for discovery.")
    watchdog_seconds: float = Field(
        120, gt=0, description="End with code 75 when there is work and none of it is done for so long."
    )
    max_dead_letters: int = Field(
        100, ge=0, description="End with code 70 after more dead letters in a row than this (or 1 % of 10,000)."
    )


class ModelSettings(Settings):
    """What decides a model's topics: another value of any of these is another pipeline, side by side with the old."""

    model: str = Field(DEFAULT_MODEL, description="sentence-transformers model: a hub name or a folder.")
    revision: str | None = Field(None, description="Commit of the model on the hub; unset: its newest.")
    unit: Unit = Field(
        "window",
        description="What becomes a vector: windows of the text, the opening text alone, or the page's beginning.",
    )
    window_tokens: int = Field(200, ge=8, le=100_000, description="Tokens of text in a window.")
    overlap_tokens: int = Field(40, ge=0, le=50_000, description="Tokens that neighbouring windows share.")


class TableSettings(Settings):
    """Where the vectors are."""

    lance_uri: str = Field("", description="LanceDB's folder or s3:// or gs:// address; empty: DATA_DIR/lance.")
    table: Name = Field("wikipedia", description="Name of the table.")

    @property
    def lance_location(self) -> str:
        """`lance_uri`, or the folder that stands for it when it is empty."""
        return self.lance_uri or str(self.data_dir / "lance")


__all__ = [
    "DEFAULT_MODEL",
    "MIB",
    "DType",
    "KafkaSettings",
    "ModelSettings",
    "Name",
    "ServiceSettings",
    "Settings",
    "TableSettings",
    "Unit",
]
