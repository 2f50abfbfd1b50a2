"""The command `cirrostream`: every command line of the pipeline under one name, loaded when it is asked for.

`cirrostream search` is `python -m sinks.search`: the same code with the same flags, variables and exit codes. Listing
the commands, `--version` and completing a command's name load none of them, for lancedb, torch and Kafka's client
take seconds.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.version import version


class Command(NamedTuple):
    """A command and its place: `module` as after `python -m`, and a command of that module where it has several."""

    summary: str
    module: str
    of_module: str = ""

    def load(self) -> Any:
        """The command itself, as Typer makes it."""
        from pipeline.terminal import show_what_can_be_shown

        show_what_can_be_shown()
        loaded = typer.main.get_command(importlib.import_module(importable(self.module)).app)
        return loaded.commands[self.of_module] if self.of_module else loaded  # type: ignore[attr-defined]


class Commands(NamedTuple):
    """Commands of one kind, below a name of their own: `cirrostream produce jsonl`."""

    summary: str
    commands: Mapping[str, Command]

    def load(self) -> TyperGroup:
        """The group, of which nothing is loaded yet."""
        return group({"Commands": self.commands}, self.summary)


SUMMARY = "From documents to a searchable vector table, through Kafka: nothing lost, nothing twice."
LOCAL = "deploy.local"

SOURCES = {
    "cirrus": Command("CirrusSearch dumps", "producers.cirrus"),
    "wikitext": Command("MediaWiki's XML exports", "producers.wikitext"),
    "jsonl": Command("JSON Lines", "producers.jsonl"),
    "markdown": Command("Markdown files with front matter", "producers.markdown"),
    "parquet": Command("Parquet files", "producers.parquet"),
    "mediawiki": Command("Pages of a wiki, by its API", "producers.mediawiki"),
    "live": Command("The changes of a wiki, within seconds of each", "producers.live"),
}

COMMANDS: Mapping[str, Mapping[str, Command | Commands]] = {
    "On this machine": {
        "demo": Command("Real Wikipedia text through everything, the proof, three searches", LOCAL, "demo"),
        "run": Command("A whole pipeline, from a wiki or files of yours to a table", LOCAL, "run"),
        "workers": Command("Embedders and chunkers alone, for a Kafka elsewhere", LOCAL, "workers"),
        "kafka": Command("The local Kafka, in the foreground", LOCAL, "kafka"),
        "stop": Command("Stop what runs on a data folder", LOCAL, "stop"),
        "reset": Command("Delete a data folder's Kafka and table, to start over", LOCAL, "reset"),
        "doctor": Command("Check all that a run needs, and say what to type", "deploy.doctor"),
    },
    "Ask and look": {
        "search": Command("The pages that answer a question", "sinks.search"),
        "status": Command("Speed, lag and the time left", "pipeline.status"),
        "ledger": Command("The fate of every document of a dump", "producers.ledger"),
        "verify": Command("Compare the table with what was sent, page by page", "sinks.verify"),
        "measure": Command("The quality of a table's searches, by questions made from it", "sinks.measure"),
        "lag": Command("The lag of each stage, for Prometheus", "pipeline.lag"),
    },
    "Mend": {
        "dead-letters": Command("Records that could not be processed, why, and another try", "pipeline.dead_letters"),
        "replay": Command("Set a stopped stage back, so that it does its work again", "pipeline.replay"),
        "downgrade": Command("Make a table as older versions know it", "sinks.downgrade"),
    },
    "Stages": {
        "download": Command("Download a wiki's dump, for later", "producers.dumps"),
        "produce": Commands("Read documents into Kafka", SOURCES),
        "chunk": Command("One replica that cuts pages into chunks", "consumers.chunk"),
        "embed": Command("One replica that embeds chunks", "consumers.embed"),
        "sink": Commands("Write what is embedded", {"lance": Command("Into a LanceDB table", "sinks.lance")}),
    },
    "In a cluster": {
        "access": Command("A Kafka user for GPU hosts elsewhere, with the rights they need", "deploy.access"),
        "kubernetes": Command("Manifests that follow from the code", "deploy.kubernetes"),
    },
}


def importable(module: str) -> str:
    """The module that `python -m` runs for this name: a package's `__main__`."""
    found = importlib.util.find_spec(module)
    return f"{module}.__main__" if found is not None and found.submodule_search_locations is not None else module


class StandIn(TyperCommand):
    """A command with a summary and no flags: help and completion ask for all commands at once."""

    def __init__(self, name: str, place: Command | Commands, panel: str) -> None:
        super().__init__(name, help=place.summary, rich_help_panel=panel)
        self.place = place


class LazyGroup(TyperGroup):
    """Loads the command that is called, and no other."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself in place of its stand-in."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found.place.load() if isinstance(found, StandIn) else found, rest


def group(panels: Mapping[str, Mapping[str, Command | Commands]], summary: str, *, program: bool = False) -> TyperGroup:
    """These commands, under their titles in `--help`; a `program` tells its version, and completes in a shell."""
    app = typer.Typer(
        cls=LazyGroup,
        help=summary,
        no_args_is_help=True,
        add_completion=program,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_program if program else _group)
    made: Any = typer.main.get_command(app)
    for title, commands in panels.items():
        for name, place in commands.items():
            made.add_command(StandIn(name, place, title))
    return made  # type: ignore[no-any-return]


def main() -> None:
    """Runs the command line of `cirrostream`."""
    group(COMMANDS, SUMMARY, program=True)(prog_name="cirrostream")


def _tell(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cirrostream {version()}")
        raise typer.Exit


def _program(
    tell: Annotated[
        bool, typer.Option("--version", callback=_tell, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def _group() -> None: ...


if __name__ == "__main__":
    main()
