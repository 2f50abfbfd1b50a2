"""The frame of every long-running process: signals, /metrics and /healthz, a watchdog, exit codes.

A stage that cannot work dies, with one line that says why; its supervisor starts it again. None idles half alive.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import PlatformCollector, ProcessCollector, disable_created_metrics, make_wsgi_app

from pipeline import logs
from pipeline.announcements import Announced, announce
from pipeline.errors import Exit, Fatal
from pipeline.metrics import DISK, GPU, Metrics, gpu
from pipeline.metrics.at_scrape import AtScrape, OfStage, disk
from pipeline.settings import ServiceSettings

PORTS_TRIED = 100

ALARM_SECONDS = 5.0
"""So long after its time a process whose watchdog does not get its turn is ended by the kernel, with SIGALRM."""

STOP_SECONDS = 9.0
"""After SIGTERM the batch in hand is finished or dropped within this, so that the process has ended after 10 s: Kafka
may be away, and whoever stops us will not wait for its return."""

Watch = Callable[[str, float], AbstractContextManager[None]]
"""Watches a named step that may take so many seconds, as `Service.step` does."""


@contextlib.contextmanager
def unwatched(_name: str, _seconds: float) -> Iterator[None]:
    """A step of a process that no watchdog watches."""
    yield


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    name: str
    seconds: float


class Service:
    """The frame of one process, as a context manager around its loop.

    SIGTERM and SIGINT set `stopping`, and the process ends within `STOP_SECONDS`; a second one ends it at once. When
    the loop has not called `turned` for `watchdog_seconds`, or inside a `step` for as long as that may take, the
    process ends itself with code 75: a silent stall becomes a restart.
    """

    def __init__(self, stage: str, settings: ServiceSettings) -> None:
        logs.configure()
        self.settings = settings
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside every counter and histogram, which nobody asks for
        self.metrics = Metrics(stage)
        self.stopping = threading.Event()
        self.ready = False
        self.address = ""
        self.log: Any = structlog.get_logger().bind(stage=stage, pid=os.getpid())
        self._turned_at = time.monotonic()
        self._turned_on = time.time()
        self._steps: list[_Watched] = []
        self._ended = threading.Event()
        self._server: WSGIServer | None = None
        self._announced: Path | None = None
        self._observe()

    def __enter__(self) -> Service:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._serve()
        self._announce()
        _alarm(self.watchdog_limit_seconds)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        threading.Thread(target=self._stop_in_time, name="stop", daemon=True).start()
        self.log.info("started", metrics=f"http://{self.address}/metrics")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._announced is not None:
            self._announced.unlink(missing_ok=True)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if error is None:
            self.log.info("stopped")

    def turned(self) -> None:
        """The loop is alive: call it at every turn, and inside whatever comes back now and then."""
        self._turned_at = time.monotonic()
        self._turned_on = time.time()

    @contextlib.contextmanager
    def step(self, name: str, seconds: float) -> Iterator[None]:
        """Watches one step of the loop that has its own bound: `seconds` without a turn, in place of the watchdog's.

        For whatever does not come back in between (a download, a merge), with a bound above its own time limit; and
        for what must be noticed sooner. An overrun ends the process with 75 and a line that begins with `name`. Of
        nested steps the innermost counts; `turned` begins its time anew.
        """
        step = _Watched(name, seconds)
        self.turned()
        self._steps.append(step)
        try:
            yield
        finally:
            self.turned()
            self._steps.remove(step)

    @property
    def idle_seconds(self) -> float:
        """Time since the loop last turned."""
        return time.monotonic() - self._turned_at

    @property
    def watchdog_limit_seconds(self) -> float:
        """Idle seconds after which the process ends itself, in what it is doing now."""
        steps = self._steps[-1:]
        return steps[0].seconds if steps else self.settings.watchdog_seconds

    def watch_gpus(self, uuids: Sequence[str]) -> None:
        """Serves the state of these GPUs from now on: for a stage that computes on them, once it knows which."""
        registry, stage = self.metrics.registry, self.metrics.stage
        registry.register(AtScrape(stage, GPU, lambda: gpu.measure(uuids)))

    def die(self, message: str, code: Exit = Exit.TRY_AGAIN) -> NoReturn:
        """Ends the process at once from any thread: for a loop that no longer listens."""
        self.log.error(message)
        if self._announced is not None:
            self._announced.unlink(missing_ok=True)
        sys.stderr.flush()
        os._exit(code)

    def _observe(self) -> None:
        """Registers metrics that are read at a scrape alone: a loop that stalls cannot tell its own age."""
        metrics, stage = self.metrics, self.metrics.stage
        metrics.last_turn.follow(lambda: self._turned_on)
        metrics.loop_idle.follow(lambda: self.idle_seconds)
        metrics.ready.follow(lambda: float(self.ready))
        metrics.watchdog_limit.follow(lambda: self.watchdog_limit_seconds)
        metrics.registry.register(AtScrape(stage, DISK, lambda: disk(self.settings.data_dir)))
        metrics.registry.register(OfStage(stage, ProcessCollector(registry=None)))
        metrics.registry.register(OfStage(stage, PlatformCollector(registry=None)))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.stopping.is_set():
            os._exit(128 + number)
        self.stopping.set()

    def _stop_in_time(self) -> None:
        """Ends a process that still waits for something when its time is over: what is in hand is not committed, so
        that it is done again. That is a stop as any other, code 0."""
        self.stopping.wait()
        if not self._ended.wait(STOP_SECONDS):
            self.die(f"stopped after {STOP_SECONDS:g} s with work in hand, uncommitted: it comes again", Exit.DONE)

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self.settings.watchdog_seconds / 4)):
            steps = self._steps[-1:]  # before the age: a step begins with a turn
            limit = steps[0].seconds if steps else self.settings.watchdog_seconds
            if (idle := self.idle_seconds) > limit:
                self.die(_overrun(steps, idle, limit))
            _alarm(limit - idle)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _serve(self) -> None:
        self._server = _listen(self.settings.metrics_host, self.settings.metrics_port, self._answer)
        self.address = f"{self.settings.metrics_host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def _answer(self, environ: Any, start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return make_wsgi_app(self.metrics.registry)(environ, start_response)
        if path in ("/healthz", "/healthz/live", "/healthz/ready"):
            return self._answer_health(path, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics and /healthz are here\n"]

    def _answer_health(self, path: str, start_response: Any) -> list[bytes]:
        live = self.idle_seconds <= self.watchdog_limit_seconds
        good = live and (self.ready or path == "/healthz/live")
        body = {"live": live, "ready": self.ready, "idle_seconds": round(self.idle_seconds, 1)}
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps(body).encode() + b"\n"]

    def _announce(self) -> None:
        folder = self.settings.announce_dir
        if folder is None:
            return
        try:
            self._announced = announce(folder, Announced(self.metrics.stage, os.getpid(), self.address))
        except OSError as error:
            raise Fatal(f"{folder}: cannot announce the metrics address there: {error.strerror}") from error


def _alarm(seconds: float) -> None:
    """Has the kernel end the process a little later than the watchdog would: a call may never give back the
    interpreter's lock, and then no thread gets a turn."""
    signal.setitimer(signal.ITIMER_REAL, seconds + ALARM_SECONDS)


def _overrun(steps: Sequence[_Watched], idle: float, limit: float) -> str:
    if not steps:
        return f"watchdog: the loop has not turned for {idle:.0f} s"
    return f"watchdog: {steps[0].name}: not done after {idle:.0f} s, of {limit:.0f} s that it may take"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # On Linux a port that is listened on stays taken; what is let go is what the process before left in TIME_WAIT.
    # Without it a restarted container would get the next port, and the probes ask the first.
    allow_reuse_address = sys.platform == "linux"


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


def _listen(host: str, port: int, answer: Any) -> WSGIServer:
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        with contextlib.suppress(OSError):
            return make_server(host, candidate, answer, server_class=_Server, handler_class=_QuietHandler)
    raise Fatal(f"{host}:{port} and the {PORTS_TRIED - 1} ports after it are taken or not ours: set --metrics-port")
