"""The pipeline at a glance: `python -m pipeline.status [--watch] [--json]`."""

from __future__ import annotations

import logging
import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field

from pipeline import cli
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster
from pipeline.lag.backlog import model_steps
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings, TableSettings, chosen_log_level
from pipeline.status.collector import Pipeline, StatusCollector
from pipeline.status.completion import Completion
from pipeline.status.document import Prices, Status
from pipeline.status.kafka_watcher import KafkaWatcher
from pipeline.status.screen import once, watch
from pipeline.status.table import draw
from pipeline.status.targets import Targets, parse_places
from pipeline.terminal import Console, write_json
from pipeline.topics import corpus_topics

QUIET_S = 10.0
"""A producer that was just started takes some seconds before it announces itself."""
SVG_WIDTH = 104

FONTS = re.compile(r"@font-face \{[^}]*\}\s*")
"""Rich lets the picture load its font from somebody's server; any monospaced one will do."""


def _places(text: str) -> str:
    parse_places(text)
    return text


class StatusSettings(ModelSettings, TableSettings):
    """Settings of the view."""

    watch: bool = Field(False, description="Go on looking, until all is complete or Ctrl-C.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})
    for_seconds: float = Field(
        3, ge=1, le=3600, description="Without --watch: look for so long first.", json_schema_extra={cli.FLAG: "--for"}
    )
    targets: Annotated[str, AfterValidator(_places)] = Field(
        "", description="Replicas: host:port,… ; dns+name:port: every address that the name has."
    )
    targets_file: Path | None = Field(None, description="Replicas: a Prometheus file_sd file, JSON.")
    announce_dir: Path | None = Field(None, description="Folder to announce the metrics address in, for discovery.")
    stuck_seconds: float = Field(60, gt=0, description="Stuck: nothing done for so long while there is lag.")
    gpu_hour_price: float | None = Field(None, ge=0, description="Price of a GPU for an hour on demand, for the cost.")
    spot_hour_price: float | None = Field(None, ge=0, description="Price of a preemptible GPU for an hour.")
    svg: Path | None = Field(None, description="File to draw the view into as well, as SVG.")


app = cli.new_app("Shows how fast the pipeline goes, how far behind it is, when it is done and what is wrong.")


@cli.command(app, StatusSettings)
def status(settings: StatusSettings) -> int:
    """Looks for some seconds at Kafka and at every replica, and prints what there is; exits 0 whatever it shows."""
    if settings.watch and settings.json_output:
        raise UsageError("--json prints one document: leave --watch out")
    if chosen_log_level() is None:
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a broker that is away is said in one line, ours
    console = Console()
    look, kafka = _look(settings)
    kafka.start()
    try:
        look.await_kafka()
        last = watch(look, console) if settings.watch else once(look, settings.for_seconds)
    finally:
        kafka.end()
    if settings.json_output:
        write_json(msgspec.json.encode(last))
    elif not settings.watch:
        console.print(draw(last, console.width))
    if settings.svg is not None:
        _draw_svg(last, settings.svg)
    return Exit.DONE


def _look(settings: StatusSettings) -> tuple[StatusCollector, KafkaWatcher]:
    folder = settings.announce_dir or settings.data_dir / "run" / "announce"
    targets = Targets(folder, settings.targets, settings.targets_file)
    tag = resolve(settings, weights=False).tag
    cluster = Cluster.connect(settings)
    quiet_s = QUIET_S if settings.watch else min(QUIET_S, 0.8 * settings.for_seconds)
    steps = model_steps(settings, tag)
    kafka = KafkaWatcher(cluster, steps, corpus_topics(settings).dead_letters, Completion(steps, quiet_s=quiet_s))
    pipeline = Pipeline(cluster.bootstrap, settings.namespace, tag, _next_steps(settings))
    prices = Prices(settings.gpu_hour_price, settings.spot_hour_price)
    return StatusCollector(pipeline, kafka, targets, settings.stuck_seconds, prices=prices), kafka


def _next_steps(settings: StatusSettings) -> tuple[str, ...]:
    """Commands to type next, with the flags that say which pipeline it is."""
    shared = [*ModelSettings.model_fields, *TableSettings.model_fields]
    chosen = [
        f" --{name.replace('_', '-')} {shlex.quote(str(getattr(settings, name)))}"
        for name in dict.fromkeys(shared)
        if name in settings.model_fields_set
        and os.environ.get(f"CIRROSTREAM_{name}".upper()) != str(getattr(settings, name))
    ]
    flags = "".join(chosen)
    return (
        f"python -m sinks.verify{flags}    prove it, page by page",
        f"python -m sinks.search{flags}    ask a question",
    )


def _draw_svg(status: Status, path: Path) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=SVG_WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(draw(status, SVG_WIDTH))
        drawn = console.export_svg(title="python -m pipeline.status")
        try:
            path.write_text(FONTS.sub("", drawn), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--svg {path}: {error.strerror}") from None


if __name__ == "__main__":
    cli.run(app, "pipeline.status")
