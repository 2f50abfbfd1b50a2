"""`python -m deploy.local`: a whole pipeline on this machine, or only its Kafka."""

from __future__ import annotations

import time

from pydantic import Field

from deploy.local.by_source import command_by_source
from deploy.local.kafka import LocalKafka
from deploy.local.policy import ending
from deploy.local.run import run_pipeline
from deploy.local.run_settings import DemoSettings, RunSettings, WorkersSettings
from deploy.local.signals import stop_signals
from deploy.local.tidy import reset_data, stop_all
from deploy.local.workers import run_workers
from pipeline import cli
from pipeline.errors import Exit, Fatal, UsageError
from pipeline.settings import Settings
from pipeline.terminal import say, say_aside

app = cli.new_app("Runs the whole pipeline on this machine, with a Kafka of its own.")


class KafkaCommandSettings(Settings):
    """Settings of `kafka`."""

    port: int = Field(9092, ge=0, le=65_535, description="Port for clients; taken or 0: any free one.")


class ResetSettings(Settings):
    """Settings of `reset`."""

    yes: bool = Field(False, description="Really delete.")


@command_by_source(app, RunSettings)
def run(settings: RunSettings) -> int:
    """Runs files through the whole pipeline: every page ends in the table or in the dead letters.

    Takes CirrusSearch dumps, JSON Lines, Parquet files and MediaWiki's XML exports, by their names or by --source; with
    --wiki and no files it downloads that wiki's dump. Each source has flags of its own, such as --id-field:
    `run --source jsonl --help` shows them, and so does `run notes.jsonl --help`.
    """
    return run_pipeline(settings)


@cli.command(app, WorkersSettings)
def workers(settings: WorkersSettings) -> int:
    """Runs embedders (and chunkers) alone, one embedder a GPU, for the Kafka that KAFKA_BOOTSTRAP_SERVERS names."""
    return run_workers(settings)


@cli.command(app, KafkaCommandSettings)
def kafka(settings: KafkaCommandSettings) -> int:
    """Runs the local Kafka in the foreground, until Ctrl-C; the other commands find it through the data folder."""
    with stop_signals() as stopping, LocalKafka(settings.data_dir, settings.port) as broker:
        say_aside(f"Kafka at {broker.bootstrap} on {settings.data_dir}; Ctrl-C ends it")
        while not stopping.wait(0.2):
            code = broker.exit_code()
            if code is not None:
                raise Fatal(f"the local Kafka {ending(code)}: {broker.last_words()} (log: {broker.log})")
    return Exit.DONE


@cli.command(app, Settings)
def stop(settings: Settings) -> int:
    """Stops the run and the Kafka on this data folder, wherever they were started."""
    began = time.monotonic()
    stopped = stop_all(settings.data_dir)
    if stopped:
        say_aside(f"stopped {' and '.join(stopped)} in {time.monotonic() - began:.1f} s")
    else:
        say_aside(f"nothing runs on {settings.data_dir}")
    return Exit.DONE


@cli.command(app, ResetSettings)
def reset(settings: ResetSettings) -> int:
    """Deletes the local Kafka, the table, logs and reports of this data folder; downloads and samples stay."""
    deleted = reset_data(settings.data_dir, really=settings.yes)
    say(f"deleted {', '.join(map(str, deleted))}" if deleted else f"nothing to delete in {settings.data_dir}")
    return Exit.DONE


@cli.command(app, DemoSettings)
def demo(settings: DemoSettings) -> int:
    """Runs real Wikipedia text through the whole pipeline, proves that all of it arrived, and asks three questions."""
    try:
        from deploy.local.demo import demo as run_demo
    except ModuleNotFoundError as error:
        raise UsageError(f"the demo needs the package {error.name}: pip install cirrostream[demo]") from None
    return run_demo(settings)


if __name__ == "__main__":
    cli.run(app, "deploy.local")
