"""The writer's side of a measurement: the process started, looked at without waiting, ended when it takes too long."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec
from pydantic_settings import BaseSettings

from pipeline.addresses import without_secrets
from pipeline.child_environment import with_secrets_for
from pipeline.child_limits import PARENT
from pipeline.model_files import ModelFiles
from sinks.measure.settings import MeasureSettings
from sinks.measured import Measured

COMMAND = (sys.executable, "-m", "sinks.measure.child")

_ROOT = Path(__file__).resolve().parents[2]
"""With our packages, wherever the writer was started."""

OVERTIME_SECONDS = 120.0
"""Beyond its time limit, for its start and the model; by then it would have ended itself."""
LARGEST_OUTPUT = 1024 * 1024
"""Bytes that it may write; a measurement is some thousand."""

Why = Literal["died", "timed_out", "unreadable"]


class MeasurementFailed(Exception):
    """There is no measurement; the message says why in one line."""

    def __init__(self, why: Why, line: str) -> None:
        super().__init__(line)
        self.why = why


class MeasureProcess:
    """One measurement at work in a process of its own."""

    def __init__(
        self,
        environment: Mapping[str, str],
        seconds: float,
        *,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._limit = seconds + OVERTIME_SECONDS
        self._started = clock()
        # Files, not pipes: nobody reads while the writer merges, and a full pipe would stop the process.
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        # It ignores signals that a terminal or a supervisor sends to all: the writer ends it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
                env={**environment, PARENT: str(os.getpid())},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Measured | None:
        """The measurement, once it is there; never waits.

        Raises:
            MeasurementFailed: there will be none; the process has ended.
        """
        code = self._process.poll()
        if code is None:
            if self._clock() - self._started > self._limit:
                self.end()
                raise MeasurementFailed("timed_out", f"was ended: it took more than {self._limit:.0f} s")
            if max(os.fstat(file.fileno()).st_size for file in (self._out, self._err)) > LARGEST_OUTPUT:
                self.end()
                raise MeasurementFailed("unreadable", f"was ended: it wrote more than {LARGEST_OUTPUT} bytes")
            return None
        try:
            if code:
                raise MeasurementFailed("died", f"{_ending(code)}: {self._last_line()}")
            return self._document()
        finally:
            self._close()

    def end(self) -> None:
        """Ends the process, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close()

    def _document(self) -> Measured:
        self._out.seek(0)
        try:
            return msgspec.json.decode(self._out.read(LARGEST_OUTPUT), type=Measured)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MeasurementFailed("unreadable", f"gave no measurement: {error}") from None

    def _last_line(self) -> str:
        """Of what it said, for the log."""
        size = os.fstat(self._err.fileno()).st_size
        self._err.seek(max(0, size - 4_096))
        lines = self._err.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return without_secrets(re.sub(r"[\x00-\x1f\x7f]+", " ", said[-1])[:300]) if said else "it said nothing"

    def _close(self) -> None:
        self._out.close()
        self._err.close()


def measure_environment(
    chosen: BaseSettings, files: ModelFiles, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of the process: the writer's, its settings from the command line too, without Kafka's secrets.

    Args:
        chosen: the writer's settings, those of `MeasureSettings` among them.
    """
    own = chosen.model_dump(include=set(MeasureSettings.model_fields))
    # A hub's model: the commit that the writer has found, whatever has come there since.
    values = {**own, "revision": files.revision if files.path.name == files.revision else None}
    ours = {f"CIRROSTREAM_{name.upper()}": str(value) for name, value in values.items() if value is not None}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    kept = {k: v for k, v in with_secrets_for(("hub", "store"), environment).items() if k != "CIRROSTREAM_REVISION"}
    path = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(_ROOT))))
    return {**kept, **ours, **threads, "PYTHONPATH": path}


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"was killed by {-code}"
