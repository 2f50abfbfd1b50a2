"""From an edit on a wiki to the answer of a search, through every process that there is."""

from __future__ import annotations

import time

import pytest

from pipeline import model_files
from pipeline.settings import ModelSettings, TableSettings
from sinks.reader import Reader
from sinks.search.encoder import QuestionEncoder
from sinks.search.nearest import nearest
from tests.faults.conftest import NewWorld
from tests.faults.world import World
from tests.wiki_server import FakeWiki, served

PROMISED_S = 15
TEXTS = {
    1: "Amber is the resin of trees that died millions of years ago. Insects are found in it.",
    2: "A lighthouse is a tower that shows ships the way at night.",
    3: "Bread is baked from flour, water and yeast.",
}


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_an_edit_is_searchable_within_15_s_and_a_deletion_gone(new_world: NewWorld) -> None:
    with served(FakeWiki()) as site:
        wiki = site.wiki
        world = new_world(wiki="testwiki", api=site.api, stream=site.stream, refetch_seconds=1)
        for name, command in (("live", "producers.live"), ("chunk", "consumers.chunk"), ("embed", "consumers.embed")):
            world.add(name, command)
        world.add_sink()
        world.until(lambda: wiki.listeners, "the stream is listened to", 60)
        for page_id, text in TEXTS.items():
            wiki.write(page_id, f"Page {page_id}", text)
        world.until(world.has_table, "there is a table", 90)
        reader, encoder = open_search(world)

        def found(question: str) -> str:
            """The text that a search finds first."""
            hits = nearest(reader, encoder.encode(question), 1)
            return hits[0].text if hits else ""

        world.until(lambda: "Bread" in found("how is bread made"), "the first pages are found", 60)
        edited = time.monotonic()
        wiki.write(2, "Page 2", "A violin is an instrument with four strings, played with a bow.")
        world.until(lambda: "violin" in found("musical instrument with strings"), "the edit is found", PROMISED_S)
        assert time.monotonic() - edited < PROMISED_S
        assert "lighthouse" not in found("a tower that shows ships the way")
        wiki.delete(3)
        world.until(lambda: "Bread" not in found("how is bread made"), "the deletion is gone", PROMISED_S)
        wiki.restore(3)
        world.until(lambda: "Bread" in found("how is bread made"), "the restored page is back", PROMISED_S)


def open_search(world: World) -> tuple[Reader, QuestionEncoder]:
    encoder = QuestionEncoder.load(model_files.resolve(ModelSettings(), weights=True), "cpu")
    return Reader.open(TableSettings(lance_uri=str(world.table_settings.lance_location))), encoder
