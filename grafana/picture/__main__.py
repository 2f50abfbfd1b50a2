"""Draws each dashboard with what a Prometheus has: `python -m grafana.picture --prometheus URL --out docs/pictures`."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from grafana.picture.answers import Prometheus
from grafana.picture.drawing import draw
from grafana.picture.panels import dashboards
from pipeline import cli
from pipeline.errors import CheckFailed, Exit, UsageError
from pipeline.terminal import say

app = cli.new_app("Draws the dashboards with a Prometheus' data.")


class PictureSettings(BaseSettings):
    """What the drawing takes."""

    model_config = SettingsConfigDict(env_prefix="CIRROSTREAM_", extra="ignore", frozen=True)

    prometheus: str = Field("http://127.0.0.1:9090", description="Address of the Prometheus to ask.")
    out: Path = Field(Path("docs/pictures"), description="Folder for one PNG a dashboard.")
    minutes: float = Field(10, gt=0, le=10_000, description="How far to look back.")
    window: float = Field(60, ge=4, le=86_400, description="Rates look back for so many seconds.")
    until: float = Field(0, ge=0, description="Unix time to look back from; 0: now.")


@cli.command(app, PictureSettings)
def picture(settings: PictureSettings) -> int:
    """Draws every dashboard into a PNG, from the real answers to its panels' queries."""
    if find_spec("matplotlib") is None:
        raise UsageError("drawing needs matplotlib: pip install cirrostream[docs]")
    end = settings.until or time.time()
    prometheus = Prometheus(settings.prometheus, end - 60 * settings.minutes, end, settings.window)
    settings.out.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards():
        drawn, empty = draw(dashboard, prometheus)
        if len(empty) == len(dashboard.panels):
            raise CheckFailed(f"{settings.prometheus} has no data for any panel of {dashboard.title}")
        path = settings.out / f"{dashboard.name}.png"
        path.write_bytes(drawn)
        without = f"; without data: {', '.join(empty)}" if empty else ""
        say(f"{path}: {len(dashboard.panels)} panels, {len(drawn) / 1e3:.0f} kB{without}")
    return Exit.DONE


if __name__ == "__main__":
    cli.run(app, "grafana.picture")
