"""The process that chunks. Started by `ChunkProcess`, not by hand.

Text can make a tokenizer crash, hang or take all memory, and nothing but the end of a process stops it then. So this
one has nothing to lose: no Kafka, no secret, no state. It ends when nobody asks any more, and with its parent at the
latest.
"""

from __future__ import annotations

import faulthandler
import os
from contextlib import suppress

from consumers import chunk_protocol
from consumers.chunk_limits import SHARE_OF_MEMORY, alarm_seconds
from consumers.chunk_protocol import Answer, Failed, Ready, Task
from consumers.chunk_records import RecordChunker
from consumers.chunking import Chunker
from pipeline.child_limits import bound_memory, end_with_parent
from pipeline.cores import usable_memory
from pipeline.errors import CirrostreamError
from pipeline.frames import read_frame, write_frame
from pipeline.records import Page

_LINE = 0
"""Standard input is the socket, for both directions."""


def load(task: Task) -> tuple[RecordChunker, Ready]:
    """Raises UsageError when model and settings do not go together."""
    chunker = Chunker(task.files, task.unit, task.window_tokens, task.overlap_tokens)
    chunker.chunk_all([Page(wiki="any", page_id="1", title="Two", text="pages")] * 2)  # starts the tokenizer's threads
    bound_memory(int(SHARE_OF_MEMORY * usable_memory()))
    return RecordChunker(chunker, task.topic_id), Ready(chunker.notice)


def answer(records: RecordChunker, question: bytes, nowhere: int) -> Answer | Failed:
    """The outcome of each record in the question. The alarm is in C: it does not wait until a call returns."""
    wanted = chunk_protocol.decode_records(question)
    faulthandler.dump_traceback_later(alarm_seconds(wanted), exit=True, file=nowhere)
    try:
        return records.chunk(wanted)
    except CirrostreamError as error:
        return Failed(error.exit_code, str(error))
    finally:
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    """Answers until nobody asks."""
    end_with_parent()
    os.dup2(2, 1)
    task = read_frame(_LINE)
    if task is None:
        return
    try:
        records, ready = load(chunk_protocol.decode_task(task))
    except CirrostreamError as error:
        write_frame(_LINE, chunk_protocol.encode(Failed(error.exit_code, str(error))))
        return
    write_frame(_LINE, chunk_protocol.encode(ready))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    while (question := read_frame(_LINE)) is not None:
        write_frame(_LINE, chunk_protocol.encode(answer(records, question, nowhere)))


if __name__ == "__main__":
    with suppress(ConnectionError):  # the stage has gone
        main()
