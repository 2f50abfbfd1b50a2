"""The way back to an older version: `python -m sinks.downgrade` makes a table as that one knows it.

Stop the sink first: a sink that a supervisor starts again takes the table over, and makes it today's once more.
"""

from __future__ import annotations

from pipeline import cli
from pipeline.errors import Exit, UsageError
from pipeline.settings import TableSettings
from pipeline.terminal import say
from sinks.derived import FIELDS
from sinks.memory import bound_memory
from sinks.notebook import KEY
from sinks.reader import Reader
from sinks.rows import MADE_BY, VectorRule
from sinks.schema import checked
from sinks.storage import connect
from sinks.table import Table

app = cli.new_app("Makes a table as older versions know it, so that they can go on with it.")


@cli.command(app, TableSettings)
def downgrade(settings: TableSettings) -> int:
    """Takes away what older versions do not know: columns that searches by words need, with their indexes.

    Stop the sink before, and start the older one afterwards. Nothing of a page is lost, and nothing is embedded again.
    """
    bound_memory(settings.lance_location)
    others = given_back(settings)
    say(
        f"table {settings.table} is as older versions know it: start the older sinks.lance now. Today's takes it over "
        "again whenever it is started, and makes anew what was taken away"
    )
    if others:
        say(f"columns of somebody else were kept, beside which 8c9e2ef cannot write: {', '.join(others)}")
    return Exit.DONE


def given_back(settings: TableSettings) -> tuple[str, ...]:
    """Takes the table over and gives it back to an older version; says which columns of somebody else it has.

    Raises:
        UsageError: there is no such table, or it has LanceDB's note on its model, which nothing takes away and which
            would have an older version load the model.
        Replaced: a sink is at work on it.
    """
    reader = Reader.open(settings)
    fence = reader.fence()
    if KEY.encode() in (reader.lance.schema.metadata or {}):
        raise UsageError(
            f"table {settings.table} was made by this version, and no older one can write it: it has LanceDB's note on "
            "its model. Let the older one fill another table (--table)"
        )
    rule = VectorRule(fence.dimension, fence.vector_type)
    table = Table.take_over(connect(settings.lance_location), settings.table, fence, rule)
    ours = {field.name for field in (*FIELDS, *MADE_BY)}
    table.give_back([name for name in table.lance.schema.names if name in ours])
    return checked(table.lance.schema, settings.table).extra


if __name__ == "__main__":
    cli.run(app, "sinks.downgrade")
