"""A real Apache Kafka on this machine, without Docker or a system Java.

It survives kill -9 of itself and of whoever started it (what it has acknowledged is in the page cache); it does
not survive power loss, as it does not sync to disk.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.broker import PREFERRED_PORT, Ports, choose_ports, properties
from deploy.local.child import Child
from deploy.local.claim import claim_within
from deploy.local.jars import JavaProgram, kafka_program
from deploy.local.running import answers, claim_path
from pipeline.child_environment import child_environment
from pipeline.errors import Fatal, UsageError
from pipeline.kafka import bootstrap_file

OPTIONS = (
    "-Xmx512m",
    "-Xms128m",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss",
)
"""A small heap, and warnings in the log file. With slf4j-nop in place of slf4j-simple a broker whose port is
taken ends with code 1 and not a word."""
HERE = Path("/proc/self/cwd") if sys.platform == "linux" else Path()
"""The broker's own folder as it is told of it: where it runs, never its name. Java decodes names by the locale, and
.properties files escape, so it cannot open every one (an emoji under LC_ALL=C, a comma, bytes that are no UTF-8).
Elsewhere than on Linux Java takes names for UTF-8 whatever the locale."""
WHERE = (f"-Duser.dir={HERE}",) if HERE.is_absolute() else ()

LEFTOVER_S = 10.0
"""How long a killed owner's broker may take to be gone: its guard kills it at once, the kernel frees its memory."""
CONFIGURATION = "server.properties"
START_S = 180.0
"""After kill -9 with several GB of log, recovery takes 12–14 s on 2 cores; a slow disk takes longer."""
STOP_S = 30.0


class LocalKafka:
    """One broker on one data folder; a context manager that yields it running.

    Args:
        data_dir: everything is below `data_dir`/kafka: logs of the topics, the broker's own log, the address.
        port: preferred port for clients; taken: any free one.

    Raises:
        Claimed: another broker runs on this folder.
        UsageError: the extra `demo` is not installed, or the folder cannot be written.
        TryAgain: the jars could not be fetched.
        Fatal: the broker ended or did not answer in time; the line says where its log is.
    """

    def __init__(self, data_dir: Path, port: int = PREFERRED_PORT) -> None:
        self.data_dir = data_dir
        self.folder = data_dir.absolute() / "kafka"
        self.log = self.folder / "broker.log"
        self._preferred = port
        self._child: Child | None = None
        self.bootstrap = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the broker answers; formats the storage the first time."""
        program = kafka_program()
        self._make_folder()
        claim = claim_within(claim_path(self.data_dir), LEFTOVER_S)
        try:
            bootstrap_file(self.data_dir).unlink(missing_ok=True)
            ports = choose_ports(self._preferred)
            configuration = self._configure(ports)
            self._format_once(program, configuration)
            with suppress(FileNotFoundError):
                self.log.replace(self.folder / "broker.previous.log")
            command = program.command("kafka.Kafka", configuration, options=(*OPTIONS, *WHERE))
            self._child = Child(command, self.log, child_environment(), keep=[claim.fileno()], folder=self.folder)
        finally:
            claim.release()  # the broker holds it from here on, as long as it lives
        try:
            self._wait_until_it_answers(ports)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the broker in good order; harmless when it does not run."""
        bootstrap_file(self.data_dir).unlink(missing_ok=True)
        if self._child is not None:
            self._child.stop(STOP_S)
            self._child = None

    def kill(self) -> None:
        """Ends the broker as kill -9 does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    @property
    def pid(self) -> int:
        """Process id of the broker. Raises ValueError when it does not run."""
        if self._child is None:
            raise ValueError("the broker does not run")
        return self._child.pid

    def restart(self) -> None:
        """Starts a broker that has died, at the address that it had: its clients know no other.

        Raises:
            Fatal: it does not start, or somebody has taken its port meanwhile.
        """
        before = self.bootstrap
        self._preferred = int(before.rpartition(":")[2])
        self._child = None
        self.start()
        if self.bootstrap != before:
            self.stop()
            raise Fatal(f"the local Kafka cannot come back: something else has its port now ({before})")

    def exit_code(self) -> int | None:
        """The exit code of the broker, or None while it runs."""
        return self._child.poll() if self._child is not None else None

    def last_words(self) -> str:
        """The reason that the broker gives for its end: the exception below its first error, else its last line."""
        with suppress(OSError):
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            named = [line for line in lines if re.match(r"[\w.$]+(?:Exception|Error): ", line)]
            return (named[:1] or lines[-1:] or [""])[0][:300]
        return ""

    def _make_folder(self) -> None:
        try:
            (self.folder / "log").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be made: {error.strerror}; choose another --data-dir") from None

    def _configure(self, ports: Ports) -> str:
        (self.folder / CONFIGURATION).write_text(properties(ports, HERE / "log"), encoding="ascii")
        return str(HERE / CONFIGURATION)

    def _format_once(self, program: JavaProgram, configuration: str) -> None:
        if (self.folder / "log" / "meta.properties").exists():
            return
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster_id.startswith("-"):  # the formatter would take it for an option
            cluster_id = "A" + cluster_id[1:]
        form = ("format", "-t", cluster_id, "-c", configuration)
        command = program.command("kafka.tools.StorageTool", *form, options=("-Xmx256m", *WHERE))
        done = subprocess.run(  # noqa: S603 - no shell
            command, capture_output=True, text=True, errors="replace", check=False, cwd=self.folder
        )
        if done.returncode != 0:
            # Its log lines begin with the thread's name in brackets; what is wrong comes behind them.
            said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip() and line[0] not in "[\t"]
            reason = said[0] if said else f"exit code {done.returncode}"
            raise Fatal(f"{self.folder / 'log'} cannot be formatted for Kafka: {reason}")

    def _wait_until_it_answers(self, ports: Ports) -> None:
        deadline = time.monotonic() + START_S
        while not answers(ports.bootstrap, timeout_s=0.5):
            code = self.exit_code()
            if code is not None:
                raise Fatal(f"the local Kafka ended with {code} at its start: {self.last_words()} (log: {self.log})")
            if time.monotonic() > deadline:
                raise Fatal(f"the local Kafka does not answer after {START_S:.0f} s; log: {self.log}")
            time.sleep(0.05)
        self.bootstrap = ports.bootstrap
        _write_at_once(bootstrap_file(self.data_dir), f"{ports.bootstrap}\n")


def _write_at_once(path: Path, text: str) -> None:
    """Writes a file that no reader ever sees half of."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
