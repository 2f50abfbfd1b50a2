"""What is handed to Kafka for a page: its key, and a record that names the version of the producer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.publisher import Message
from pipeline.records import Page, decode
from pipeline.version import version
from producers.run.delivery import PageSender


class Kept:
    """A publisher and dead letters that keep what they get."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        self.messages += messages

    def succeeded(self) -> None: ...


def test_a_page_and_its_deletion_are_sent_under_one_key_and_the_page_names_the_version() -> None:
    kept: Any = Kept()
    page = Page(wiki="testwiki", page_id="7", title="A", text="B")
    sender = PageSender(kept, "pages", kept)
    sender.send(page, "file", 0)
    sender.delete(page.key)
    sent, deletion = kept.messages
    assert (sent.key, deletion.key, deletion.value) == (b"testwiki:7", b"testwiki:7", None)
    assert decode(sent.value, Page).cirrostream == version()
