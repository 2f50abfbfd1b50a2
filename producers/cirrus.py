"""`python -m producers.cirrus SOURCE…`: CirrusSearch dumps into `pages`, with an account of every line."""

from __future__ import annotations

from pipeline.cli import command, new_app, run
from producers.cirrussearch.cirrus_names import CIRRUS_NAMES
from producers.cirrussearch.cirrus_reader import CirrusReader
from producers.cirrussearch.cirrus_settings import CirrusCommandSettings, CirrusSettings
from producers.files.page_reader import FileKind
from producers.snapshots.finish import finish
from producers.snapshots.snapshot_run import SnapshotRun

KIND = FileKind("cirrus", CIRRUS_NAMES, CirrusSettings, CirrusReader, manifests=True)

app = new_app("Reads CirrusSearch dumps into Kafka.")


@command(app, CirrusCommandSettings)
def cirrus(settings: CirrusCommandSettings) -> int:
    """Sends the pages of CirrusSearch dumps (.json.bz2, .json.gz, .json) to `pages`, and goes on where it was left.

    With --finish it sends nothing but the deletions of a snapshot that has been read.
    """
    if settings.finish:
        return finish(settings)
    return SnapshotRun(KIND, settings).run()


if __name__ == "__main__":
    run(app, "producers.cirrus")
