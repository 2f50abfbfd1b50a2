"""Every setting: declared once, given as a flag or as an environment variable.

A command declares a class with what it needs; `pipeline.cli` makes its flags from the same fields. A field's
description is its `--help` text. Secrets have no flag: a command line is visible to everybody on the machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import UsageError
from pipeline.servers import SecurityProtocol, parse_servers

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

Unit = Literal["window", "lead", "page"]
DType = Literal["auto", "fp32", "bf16", "fp16"]

MIB = 1024 * 1024

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", value):
        raise ValueError("letters, digits, '_' and '-' only, at most 100")
    return value


def _namespace(value: str) -> str:
    return _name(value) if value else value


Name = Annotated[str, AfterValidator(_name)]


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


FileOrNone = Annotated[Path | None, BeforeValidator(lambda value: value or None)]
"""An empty variable is one that is not set: templates and Compose files cannot leave one out."""


class KafkaSettings(BaseSettings):
    """The cluster, and the way into it. Read from the environment, with the names that Kafka's own tools use.

    Settings that do not go together are refused here, before anybody waits for a cluster that cannot answer. Ask
    `kafka_settings` for them: it refuses in words.
    """

    model_config = SettingsConfigDict(env_prefix="KAFKA_", extra="ignore", frozen=True, validate_default=True)

    security_protocol: Annotated[SecurityProtocol, BeforeValidator(_upper)] = "PLAINTEXT"
    bootstrap_servers: str = ""
    """`host:port,…`, as `parse_servers` reads it; empty: the local Kafka whose address is in the data folder."""
    sasl_mechanism: Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_upper)] = (
        "SCRAM-SHA-512"
    )
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: FileOrNone = None
    ssl_certfile: FileOrNone = None
    ssl_keyfile: FileOrNone = None

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, value: str, info: ValidationInfo) -> str:
        if not value.strip():
            return ""
        return ",".join(map(str, parse_servers(value, info.data.get("security_protocol"))))

    @field_validator("sasl_username", "sasl_password")
    @classmethod
    def _login(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        protocol = info.data.get("security_protocol", "")
        if protocol.startswith("SASL") and not (value if isinstance(value, str) else value.get_secret_value()):
            raise ValueError(f"is not set, and {protocol} needs a user and a password")
        return value

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"no file {value}")
        if info.field_name == "ssl_keyfile" and (value is None) != (info.data.get("ssl_certfile") is None):
            missing = "KAFKA_SSL_KEYFILE" if value is None else "KAFKA_SSL_CERTFILE"
            raise ValueError(f"a client certificate and its key need each other; {missing} is not set")
        return value


def kafka_settings() -> KafkaSettings:
    """The settings of the cluster, from the environment. Raises UsageError, in a line, when one is refused."""
    try:
        return KafkaSettings()
    except ValidationError as error:
        said = [f"KAFKA_{key}".upper() + f": {reason}" for key, reason in refusals(KafkaSettings, error)]
        raise UsageError("; ".join(said)) from None


def chosen_log_level() -> str | None:
    """`CIRROSTREAM_LOG_LEVEL`, in capitals; None when it is not set. Raises UsageError for a word that is no level."""
    chosen = os.environ.get("CIRROSTREAM_LOG_LEVEL", "").strip().upper()
    if chosen and chosen not in LOG_LEVELS:
        raise UsageError(f"CIRROSTREAM_LOG_LEVEL: one of {', '.join(LOG_LEVELS)}, got {chosen!r}")
    return chosen or None


def refusals(settings: type[BaseSettings], error: ValidationError) -> list[tuple[str, str]]:
    """Field and reason for each value that pydantic has refused; a secret's value is not shown."""
    return [
        (str(problem["loc"][0]) if problem["loc"] else "", _reason(settings, problem)) for problem in error.errors()
    ]


def _reason(settings: type[BaseSettings], problem: ErrorDetails) -> str:
    key = str(problem["loc"][0]) if problem["loc"] else ""
    secret = key in settings.model_fields and settings.model_fields[key].annotation is SecretStr
    shown = "" if secret or not key or problem["type"] == "missing" else f", got {problem['input']!r}"
    return problem["msg"].removeprefix("Value error, ") + shown


class Settings(BaseSettings):
    """Settings of every command that touches the pipeline."""

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
    """Settings of every long-running process."""

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
    """Settings that decide a model's topics: another value of any of them is another pipeline beside the old."""

    model: str = Field(DEFAULT_MODEL, description="sentence-transformers model: a hub name or a folder.")
    revision: str | None = Field(None, description="Commit of the model on the hub; unset: its newest.")
    unit: Unit = Field(
        "window",
        description="The text of a vector: windows of the page, its opening text alone, or its beginning.",
    )
    window_tokens: int = Field(200, ge=8, le=100_000, description="Tokens of text in a window.")
    overlap_tokens: int = Field(40, ge=0, le=50_000, description="Tokens that neighbouring windows share.")


class TableSettings(Settings):
    """The place of the vectors."""

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
    "chosen_log_level",
    "kafka_settings",
    "refusals",
]
