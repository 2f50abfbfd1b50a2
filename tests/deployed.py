"""Reads what a manifest runs, and says what of it the project does not have.

A manifest is text that nobody runs before an operator does: a flag with another name, or a variable that no settings
class reads, is found here and not there. Both checks ask the very objects that the command line is made of, so that
nothing has to be listed twice. They raise AssertionError with one line that says what is wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from pydantic_settings import BaseSettings
from typer.main import get_command

from pipeline.cli import ARGUMENT
from pipeline.settings import KafkaSettings
from sinks.memory import AT_START, BOUNDS, LOCAL_BOUNDS

STARTS: Mapping[str, tuple[str, ...]] = {
    "deploy.local": ("consumers.chunk", "consumers.embed"),
}
"""Commands that start others, to whom they pass their environment on."""

THIRD_PARTY: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "object_store and s3fs: AWS credentials",
    "AWS_ALLOW_HTTP": "object_store: an S3 endpoint without TLS",
    "AWS_DEFAULT_REGION": "object_store and s3fs",
    "AWS_ENDPOINT": "object_store (LanceDB): another S3",
    "AWS_ENDPOINT_URL": "botocore (s3fs): another S3",
    "AWS_REGION": "object_store and s3fs",
    "AWS_SECRET_ACCESS_KEY": "object_store and s3fs: AWS credentials",
    "CUDA_VISIBLE_DEVICES": "CUDA: the GPUs that a process sees",
    "GOOGLE_APPLICATION_CREDENTIALS": "object_store and gcsfs: a service account's key file",
    "HF_HOME": "huggingface_hub: where models are cached",
    "HF_HUB_OFFLINE": "huggingface_hub: never asks the hub",
    "HF_TOKEN": "huggingface_hub: gated models",
    "HOME": "the shell's: where libraries put what they cache",
    "JOB_COMPLETION_INDEX": "Kubernetes, in the pods of an Indexed Job; read by producers/run/source.py",
    "MPLCONFIGDIR": "matplotlib's cache",
    "NVIDIA_DRIVER_CAPABILITIES": "NVIDIA's container toolkit",
    "NVIDIA_VISIBLE_DEVICES": "NVIDIA's container toolkit",
    "OMP_NUM_THREADS": "OpenMP, as torch uses it",
    "PATH": "the shell's",
    "POD_NAME": "nobody: Kubernetes puts it into other variables' values, as $(POD_NAME)",
    "PYTHONDONTWRITEBYTECODE": "Python",
    "PYTHONUNBUFFERED": "Python",
    "TMPDIR": "Python's tempfile, and most programs",
    "TOKENIZERS_PARALLELISM": "tokenizers",
    **dict.fromkeys((*AT_START, *BOUNDS, *LOCAL_BOUNDS), "glibc, Arrow and Lance; sinks/memory.py says what for"),
}
"""Variables that others than us read in our containers, and who does."""


def check_command(argv: Sequence[str]) -> None:
    """Asserts that `argv` is a command of this project: the module is there, and takes these flags and arguments.

    `argv` is what a container runs, such as `["python", "-m", "consumers.embed", "--device", "cpu"]`; anything before
    `-m` is the interpreter and its options. Values are not judged: they may be placeholders.
    """
    module, arguments = split_command(argv)
    command, name = _command(module), f"python -m {module}"
    try:
        context = command.make_context(name, list(arguments))
        if hasattr(command, "commands"):
            rest = [*getattr(context, "_protected_args", []), *context.args]
            assert rest, "a subcommand is missing"
            found, subcommand, left = command.resolve_command(context, rest)
            subcommand.make_context(f"{name} {found}", list(left), parent=context)
    except Exception as error:  # noqa: BLE001 - click's own exceptions, wherever typer takes click from
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        raise AssertionError(f"{' '.join(argv)}: {message}") from None


def check_environment(module: str, names: Iterable[str]) -> None:
    """Asserts that the process `python -m module` reads every one of these environment variables.

    `module` may have a subcommand behind it ("deploy.local workers"): then only that one's settings count. Known are
    the fields of the settings class, `KAFKA_…` as `KafkaSettings` has them, those of the commands that this one
    starts, CIRROSTREAM_LOG_LEVEL, and what THIRD_PARTY lists.
    """
    known = environment_of(module) | set(THIRD_PARTY)
    unknown = sorted(set(names) - known)
    assert not unknown, f"python -m {module} does not read {', '.join(unknown)}"


def environment_of(module: str) -> set[str]:
    """The variables that `python -m module` reads: its own, Kafka's, and those of what it starts."""
    module, _, subcommand = module.partition(" ")
    variables = {_variable(KafkaSettings, key) for key in KafkaSettings.model_fields} | {"CIRROSTREAM_LOG_LEVEL"}
    for settings in settings_of(module, subcommand):
        variables |= {_variable(settings, key) for key in settings.model_fields if not _is_argument(settings, key)}
    for started in STARTS.get(module, ()):
        variables |= environment_of(started)
    return variables


def settings_of(module: str, subcommand: str = "") -> list[type[BaseSettings]]:
    """The settings classes of a module's commands, or of the one called `subcommand`."""
    callbacks = [
        info.callback
        for info in _app(module).registered_commands
        if info.callback is not None and subcommand in ("", info.name or info.callback.__name__)
    ]
    assert callbacks, f"python -m {module} has no command {subcommand}"
    return [inspect.getclosurevars(callback).nonlocals["settings"] for callback in callbacks]


def split_command(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The module of `… -m module argument…`, and its arguments."""
    assert "-m" in argv, f"{' '.join(argv)}: not python -m MODULE"
    at = list(argv).index("-m")
    assert len(argv) > at + 1, f"{' '.join(argv)}: no module behind -m"
    return argv[at + 1], argv[at + 2 :]


def _app(module: str) -> typer.Typer:
    found = importlib.util.find_spec(module)
    assert found is not None, f"there is no module {module}"
    name = f"{module}.__main__" if found.submodule_search_locations is not None else module
    assert importlib.util.find_spec(name) is not None, f"python -m {module} cannot be run"
    apps = [value for value in vars(importlib.import_module(name)).values() if isinstance(value, typer.Typer)]
    assert len(apps) == 1, f"{name} has {len(apps)} command lines"
    return apps[0]


def _command(module: str) -> Any:
    return get_command(_app(module))


def _variable(settings: type[BaseSettings], key: str) -> str:
    return f"{settings.model_config.get('env_prefix', '')}{key}".upper()


def _is_argument(settings: type[BaseSettings], key: str) -> bool:
    extra = settings.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(ARGUMENT))
