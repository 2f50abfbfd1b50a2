"""`python -m producers.cirrus SOURCE…`: CirrusSearch dumps into `pages`, with an account of every line."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cli import command, new_app, run
from pipeline.errors import UsageError
from producers.cirrus_names import CIRRUS_NAMES
from producers.cirrus_reader import CirrusReader
from producers.cirrus_settings import CirrusSettings
from producers.file_run import Before, produce
from producers.page_reader import FileKind
from producers.progress import newest_snapshot
from producers.sources import Shard

KIND = FileKind("cirrus", CIRRUS_NAMES, CirrusSettings, CirrusReader)

app = new_app("Reads CirrusSearch dumps into Kafka.")


@command(app, CirrusSettings)
def cirrus(settings: CirrusSettings) -> int:
    """Sends the pages of CirrusSearch dumps (.json.bz2, .json.gz, .json) to `pages`, and goes on where it was left."""

    def refuse_older(shards: Sequence[Shard], before: Before) -> None:
        if not settings.allow_older:
            _refuse_older(shards, before)

    return produce(KIND, settings, refuse_older)


def _refuse_older(shards: Sequence[Shard], before: Before) -> None:
    for shard in shards:
        newest = newest_snapshot(before.values(), shard.origin.wiki)
        if shard.origin.snapshot and shard.origin.snapshot < newest:
            raise UsageError(
                f"{shard.path}: snapshot {shard.origin.snapshot} of {shard.origin.wiki} is older than {newest}, "
                "which was sent before; the newest sent wins, so pages would go back: --allow-older does it"
            )


if __name__ == "__main__":
    run(app, "producers.cirrus")
