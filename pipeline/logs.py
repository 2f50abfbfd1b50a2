"""Structured logs on stderr: for people on a terminal, JSON elsewhere.

No secret comes through, at any level, whichever library says it: its value is looked for in every line, in what Python
itself writes of an exception, too; and lines that are made of a login are not shown at all, for a hash of a password
can be guessed at in peace.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from typing import Any, TextIO

import structlog

from pipeline.addresses import passwords_in, without_secrets
from pipeline.known_secrets import HIDDEN, known, secrets_of_environment
from pipeline.settings import chosen_log_level
from pipeline.terminal import plain_values

REPEAT_SECONDS = 10.0
REPEATS = 20


class _RepeatFilter(logging.Filter):
    """Lets a library say the same thing 20 times in 10 s, no more: a lost broker makes some say it 6,000 times a
    second."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._since = 0.0
        self._seen: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._since > REPEAT_SECONDS:
                self._since, self._seen = now, {}
            key = (record.name, str(record.msg))
            self._seen[key] = self._seen.get(key, 0) + 1
            return self._seen[key] <= REPEATS


_LOGIN = re.compile(r"SaslAuthenticate|ScramCredential|salted_password|sasl_plain_password")
"""In what Kafka's clients log of a login: the request itself, and the configuration that it is made from."""
_HEADER = re.compile(r"(?i)\b(Bearer|Basic|Signature=|Credential=|sig=)(\s*)[A-Za-z0-9._~+/=%-]{8,}")


class _LoginFilter(logging.Filter):
    """Says that a library logged something of a login, instead of what."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = _LOGIN.search(record.getMessage())
        if found is not None:
            record.msg, record.args = f"(not shown: a line with {found[0]})", ()
        return True


_MEMBERS = "Unable to decode member_"
"""kafka-python, at each question about a group of faust's, whose members have metadata of their own kind."""

_CLOSED = "Error receiving network data"
"""kafka-python, with a traceback, of a connection that this process has just closed: its reading task wakes once more
and finds no socket."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for what Kafka's client takes for an error, and is none."""
    message, error = str(record.msg), record.exc_info[1] if record.exc_info else None
    return not message.startswith(_MEMBERS) and not (_CLOSED in message and isinstance(error, AttributeError))


class GuardedStream:
    """Stderr, on which nothing is written that holds a known secret: tracebacks of threads and what libraries print."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(known.hide(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Stderr:
    """Whatever stderr is when a line is written: a test or a display may have put another stream in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)  # noqa: TID251 - lines that the renderer has made

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR: TextIO = _Stderr()  # type: ignore[assignment]


def _guard() -> None:
    """Learns the secrets of the environment and the command line, and lets none of them reach stderr."""
    known.learn(secrets_of_environment())
    for text in (*os.environ.values(), *sys.argv):
        known.learn(passwords_in(text))
    if not isinstance(sys.stderr, GuardedStream):
        sys.stderr = GuardedStream(sys.stderr)


def hide_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Takes the secrets out of a log line, as a processor of structlog."""
    return {name: _without_secrets(value) for name, value in event.items()}


def _without_secrets(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    shown = value if isinstance(value, str) else repr(value)  # as the renderer has it
    hidden = _HEADER.sub(rf"\1\2{HIDDEN}", without_secrets(shown))
    return value if hidden == shown else hidden


def configure() -> None:
    """Sets up structlog, and the standard library's logging for the libraries; every command does this first.

    `CIRROSTREAM_LOG_LEVEL` chooses the libraries' level (default WARNING).
    """
    _guard()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        # Not Rich's tracebacks: they print what local variables hold, secrets and foreign text included.
        [plain_values, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, hide_secrets, *renderers],
        logger_factory=structlog.PrintLoggerFactory(file=_STDERR),
    )
    handler = logging.StreamHandler(_STDERR)
    handler.addFilter(_RepeatFilter())
    handler.addFilter(_LoginFilter())
    handler.addFilter(_is_news)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_secrets,
                *renderers,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=chosen_log_level() or "WARNING", force=True)
