"""Structured logs on stderr: for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time

import structlog

from pipeline.addresses import without_secrets
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


def hide_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Takes the secrets out of the addresses in a log line, as a processor of structlog."""
    return {name: _without_secrets(value) for name, value in event.items()}


def _without_secrets(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return without_secrets(value)
    shown = repr(value)  # as the renderer has it
    hidden = without_secrets(shown)
    return value if hidden == shown else hidden


def configure() -> None:
    """Sets up structlog, and the standard library's logging for the libraries, once a process.

    `CIRROSTREAM_LOG_LEVEL` chooses the libraries' level (default WARNING).
    """
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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RepeatFilter())
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
