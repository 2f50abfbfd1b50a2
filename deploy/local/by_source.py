"""A command with the flags of the source that reads the files it names: chosen before its flags are parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from typer.core import TyperCommand

from deploy.local.run_settings import R, of_source
from pipeline import cli
from pipeline.addresses import without_secrets
from pipeline.errors import CirrostreamError, UsageError
from pipeline.terminal import say_aside
from producers.run.choice import Choice, choose_source
from producers.run.source import MODULES

HELP = "--help"


class _Named(BaseSettings):
    """The files of a command, and their source where it is said."""

    model_config = SettingsConfigDict(env_prefix="CIRROSTREAM_", extra="ignore")

    source: str = ""
    sources: list[str] = []


def command_by_source(app: typer.Typer, settings: type[R]) -> Callable[[Callable[[R], int]], None]:
    """Registers `run(settings) -> exit code`, as `pipeline.cli.command` does, with settings of one source besides.

    With `--help` alone it shows the flags that it has for every source.
    """

    def register(run: Callable[[R], int]) -> None:
        flags = _Flags(settings, run)

        class BySource(TyperCommand):
            def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
                if extra.get("resilient_parsing"):  # a shell completes a line that is not whole yet
                    return super().make_context(info_name, args, parent, **extra)
                try:
                    chosen = flags.chosen(info_name, args, parent)
                except CirrostreamError as error:
                    raise typer.Exit(cli.told(error)) from None
                if chosen is None:
                    return super().make_context(info_name, args, parent, **extra)
                return chosen.make_context(info_name, args, parent, **extra)

            def invoke(self, ctx: Any) -> Any:
                return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

        cli.command(app, settings, kind=BySource)(run)

    return register


@dataclass(frozen=True)
class _Flags(Generic[R]):
    """The flags of a command, by source."""

    settings: type[R]
    run: Callable[[R], int]

    def of(self, source: str) -> TyperCommand:
        """The command for files of this source."""
        app = cli.new_app("")
        cli.command(app, of_source(self.settings, source))(self.run)
        made = cast("TyperCommand", typer.main.get_command(app))
        for parameter in made.params:
            if parameter.name not in self.settings.model_fields:
                parameter.rich_help_panel = f"Options of the source {source}"  # type: ignore[attr-defined]
        return made

    def chosen(self, info_name: Any, args: Sequence[str], parent: Any) -> TyperCommand | None:
        """The command for the files that a line names; None when it asks for help and names none.

        Raises:
            UsageError: no single source reads them, or a flag is another source's.
        """
        given = self._given(info_name, args, parent)
        named = _named(given)
        if HELP in args and not named.source and not named.sources:
            return None
        choice = Choice(named.source) if named.source else choose_source(named.sources)
        if choice.name not in MODULES:
            raise UsageError(f"--source (CIRROSTREAM_SOURCE): one of {', '.join(MODULES)}, got {choice.name!r}")
        for name in given:
            self._refuse_other(name, choice.name, named)
        if choice.left_out:
            left_out = without_secrets(choice.left_out)
            say_aside(f"note: read as {choice.name}; {left_out} is for another source and left out (--source)")
        return self.of(choice.name)

    def _given(self, info_name: Any, args: Sequence[str], parent: Any) -> Mapping[str, object]:
        """The values that a line gives, by setting, whichever source's it is; an unknown flag ends the command."""
        every = self.of(next(iter(MODULES)))
        every.params = list(
            {parameter.name: parameter for name in MODULES for parameter in self.of(name).params}.values()
        )
        context = every.make_context(info_name, [word for word in args if word != HELP], parent)
        return {name: value for name, value in context.params.items() if value not in (None, [], ())}

    def _refuse_other(self, name: str, source: str, named: _Named) -> None:
        fields = {each: of_source(self.settings, each).model_fields for each in MODULES}
        if name in fields[source]:
            return
        owners = [each for each in MODULES if name in fields[each]]
        flag = cli.flag_of(name, fields[owners[0]][name])
        files = without_secrets(named.sources[0]) if named.sources else "no file is named, which"
        raise UsageError(
            f"{flag} is a flag of the source {' and of '.join(owners)}, and {files} is read as {source}: "
            f"`--source {source} --help` shows its flags, --source {owners[0]} reads it as the other"
        )


def _named(given: Mapping[str, object]) -> _Named:
    try:
        return _Named(**{name: value for name, value in given.items() if name in _Named.model_fields})  # type: ignore[arg-type]
    except (SettingsError, ValueError):
        return _Named.model_construct()  # a variable that cannot be read is refused with all settings
