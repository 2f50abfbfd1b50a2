"""`python -m pipeline.lag`: serves how far each group is behind, for Prometheus; `--once` prints it and ends.

It asks Kafka, never the replicas, so its numbers are there when every replica is dead; and it asks in a loop of its
own, so a scrape costs Kafka nothing, and a Kafka that is away does not make a scrape hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from pipeline import cli, model_files
from pipeline.errors import Exit, TryAgain
from pipeline.kafka import Cluster
from pipeline.lag import report
from pipeline.lag.backlog import Step, model_steps
from pipeline.lag.discovery import Discovery
from pipeline.lag.metrics import LagMetrics
from pipeline.lag.observer import Observer
from pipeline.lag.view import LagView
from pipeline.service import Service
from pipeline.settings import ModelSettings, ServiceSettings, TableSettings
from pipeline.terminal import Console, write_json

ONCE_READ_SECONDS = 30.0
"""Nobody asks `--once` every 5 s: it takes the time to look at the age of every partition."""


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
        False, description="Look once, and print one JSON document.", json_schema_extra={cli.FLAG: "--json"}
    )

    @model_validator(mode="after")
    def _kept_until_the_next(self) -> Self:
        if self.keep_seconds <= self.every:
            raise ValueError(f"--keep-seconds {self.keep_seconds:g} must be more than --every {self.every:g}")
        return self


app = cli.new_app("Shows how far each group of consumers is behind, also when none of them is alive.")

Steps = Callable[[Cluster], Callable[[], Sequence[Step]]]


@cli.command(app, LagSettings)
def lag(settings: LagSettings) -> int:
    """Serves the lag of the chunk, embed and lance groups on /metrics, until it is stopped.

    It asks Kafka alone, so it needs no replica to be alive; one of it is enough for a pipeline. docs/lag.md has the
    meaning of the numbers, and where they can mislead.
    """
    steps = steps_of(settings)
    if settings.once or settings.json_output:
        return look_once(settings, steps)
    return export(settings, steps)


def steps_of(settings: LagSettings) -> Steps:
    """The steps to look at; the model is resolved here, once, and not at all when all models are wanted."""
    if settings.all_groups:
        return lambda cluster: Discovery(cluster, settings).steps
    chosen = model_steps(settings, model_files.resolve(settings, weights=False).tag)
    return lambda cluster: lambda: chosen


def look_once(settings: LagSettings, steps: Steps) -> int:
    """Prints one look on stdout."""
    cluster = Cluster.connect(settings)
    observer = Observer(cluster)
    try:
        view = observer.look(steps(cluster)(), ONCE_READ_SECONDS)
    finally:
        observer.close()
        cluster.close()
    if settings.json_output:
        write_json(report.as_json(view))
    else:
        Console().print(report.as_table(view))
    return Exit.DONE


def export(settings: LagSettings, steps: Steps) -> int:
    """Looks again and again, and shows each look; a Kafka that is away is waited for, one that refuses is fatal."""
    with Service("lag", settings) as service:
        deadline = settings.deadline.timestamp() if settings.deadline else None
        metrics = LagMetrics(service.metrics.registry, settings.keep_seconds, settings.rate_floor, deadline)
        watch = LagSource(settings, steps)
        try:
            while not service.stopping.is_set():
                began = time.monotonic()
                try:
                    metrics.show(watch.look())
                except TryAgain as error:
                    service.metrics.retry("kafka")
                    service.log.warning(str(error))
                service.ready = metrics.fresh
                _wait(service, settings.every - (time.monotonic() - began))
        finally:
            watch.close()
    return Exit.DONE


def _wait(service: Service, seconds: float) -> None:
    """Turns while it waits: the watchdog is for a look that hangs, not for a long `--every`."""
    deadline = time.monotonic() + max(seconds, 0.1)
    while not service.stopping.is_set() and (left := deadline - time.monotonic()) > 0:
        service.turned()
        service.stopping.wait(min(left, service.settings.watchdog_seconds / 4))
    service.turned()


class LagSource:
    """The connection to a cluster and the memory of it, made when the cluster first answers."""

    def __init__(self, settings: LagSettings, steps: Steps) -> None:
        self._settings = settings
        self._steps_of = steps
        self._cluster: Cluster | None = None

    def look(self) -> LagView:
        """Raises TryAgain when Kafka does not answer, Fatal when it refuses."""
        if self._cluster is None:
            self._cluster = Cluster.connect(self._settings)
            self._observer = Observer(self._cluster)
            self._steps = self._steps_of(self._cluster)
        return self._observer.look(self._steps())

    def close(self) -> None:
        if self._cluster is not None:
            self._observer.close()
            self._cluster.close()


if __name__ == "__main__":
    cli.run(app, "pipeline.lag")
