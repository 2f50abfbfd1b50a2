"""Turns a settings class into a command: each field is a flag, with its environment variable beside it in `--help`.

Typer parses and prints; pydantic alone decides what a valid value is, so that a flag and an environment variable
are refused in the same words.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_origin

import typer
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from typer.core import TyperCommand

from pipeline import logs
from pipeline.errors import CirrostreamError, Exit, Fatal, TryAgain, UsageError, is_fault, is_panic, one_line
from pipeline.settings import chosen_log_level, refusals
from pipeline.terminal import say_aside, show_what_can_be_shown

S = TypeVar("S", bound=BaseSettings)

ARGUMENT = "argument"
"""Put `json_schema_extra={ARGUMENT: True}` on a field that is a positional argument."""

FLAG = "flag"
"""Put `json_schema_extra={FLAG: "--json"}` on a field whose flag has another name."""


def command(
    app: typer.Typer, settings: type[S], name: str | None = None, kind: type[TyperCommand] | None = None
) -> Callable[[Callable[[S], int]], None]:
    """Registers `run(settings) -> exit code` as a command whose flags are the fields of `settings`.

    `run`'s docstring is the help text. A `CirrostreamError` becomes one line on stderr and its exit code; a wrong
    value exits with 2, Ctrl-C with 130. `kind`: the class of the command, when it is not Typer's own.
    """

    def register(run: Callable[[S], int]) -> None:
        def call(**given: Any) -> None:
            raise typer.Exit(_run(run, settings, given))

        call.__doc__ = run.__doc__
        call.__name__ = name or run.__name__
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [_parameter(settings, key, field) for key, field in settings.model_fields.items() if _has_flag(field)]
        )
        app.command(name, cls=kind)(call)

    return register


def run(app: typer.Typer, module: str) -> None:
    """Runs the command line of `python -m module`."""
    show_what_can_be_shown()
    app(prog_name=f"python -m {module}")


def new_app(help_text: str) -> typer.Typer:
    """A Typer application as all our commands have it."""
    return typer.Typer(help=help_text, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def _has_flag(field: FieldInfo) -> bool:
    return field.annotation is not SecretStr


def flag_of(key: str, field: FieldInfo) -> str:
    """The flag of a setting, such as `--id-field`."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return str(extra.get(FLAG) or "--" + key.replace("_", "-"))


def _parameter(settings: type[BaseSettings], key: str, field: FieldInfo) -> inspect.Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    text = field.description or ""
    kind: Any
    if get_origin(field.annotation) in (list, tuple):
        kind, default = list[str] | None, None
    elif field.annotation is bool:
        kind, default = bool | None, None
    else:
        kind, default = str | None, None
    if extra.get(ARGUMENT):
        option: Any = typer.Argument(metavar=key.upper() + ("…" if kind == list[str] | None else ""), help=text)
    else:
        shown = _shown_default(field)
        flag = flag_of(key, field)
        env = f"{settings.model_config.get('env_prefix', '')}{key}".upper()
        notes = f" [dim]\\[env: {env}]{shown}[/dim]"
        declared = (f"{flag}/--no-{flag[2:]}",) if kind == bool | None and field.default is True else (flag,)
        metavar = None if kind == bool | None else key.rsplit("_", 1)[-1].upper()
        option = typer.Option(*declared, help=text + notes, metavar=metavar, show_default=False)
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _shown_default(field: FieldInfo) -> str:
    if field.annotation is bool or field.default in (PydanticUndefined, None, "", [], ()):
        return ""
    return f" \\[default: {field.default}]"


def _run(run: Callable[[S], int], settings: type[S], given: dict[str, Any]) -> int:
    try:
        logs.configure()  # before anything that may hold a secret is said; a wrong level is told before the work
        return run(_chosen(settings, given))
    except CirrostreamError as error:
        return told(error)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # the last line of defence: no traceback for the user
        if not is_fault(error):
            raise
        known = _in_words(error)
        if known is not None:
            return told(known)
        if chosen_log_level() == "DEBUG":
            say_aside(traceback.format_exc())
        say_aside(
            f"error: unexpected {one_line(error)}; this is a bug, or something broke beneath us "
            "(CIRROSTREAM_LOG_LEVEL=DEBUG shows where)"
        )
        return Exit.FATAL


def _chosen(settings: type[S], given: dict[str, Any]) -> S:
    try:
        return settings(**{key: value for key, value in given.items() if value is not None and value != []})
    except ValidationError as error:
        raise UsageError(
            "\nerror: ".join(_refused(settings, *refusal) for refusal in refusals(settings, error))
        ) from None


def _refused(settings: type[BaseSettings], key: str, reason: str) -> str:
    env = f"{settings.model_config.get('env_prefix', '')}{key}".upper()
    flag = flag_of(key, settings.model_fields[key]) if key in settings.model_fields else key
    return f"{flag} ({env}): {reason}" if key else reason


def told(error: CirrostreamError) -> int:
    """Says the error in a line; its exit code."""
    say_aside(f"error: {error}")
    return error.exit_code


def _in_words(error: BaseException) -> CirrostreamError | None:
    """Errors that can come from anywhere, in words: no memory, a panic, one of kafka-python's (not loaded for this)."""
    if isinstance(error, MemoryError):
        return TryAgain("this machine's memory is full: end what else runs here, or give this process more")
    if is_panic(error):
        return Fatal(
            f"a library written in Rust has panicked ({one_line(error)}), its own lines above say where; start "
            "again, and report it if it comes again"
        )
    if not isinstance(error, Exception) or not type(error).__module__.startswith("kafka."):
        return None
    from pipeline.kafka_errors import in_words

    return in_words(error, "Kafka")
