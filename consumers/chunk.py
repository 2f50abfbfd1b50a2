"""Chunks the pages of the corpus: one replica of the CPU stage, `python -m consumers.chunk`.

Built on faust in the one shape of it that loses nothing: one agent without concurrency, whose events are acknowledged
in order, and only when Kafka has all that was made of them. A failure ends the process: faust would restart the agent
at the next message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

from aiokafka.errors import MessageSizeTooLargeError
from pydantic import Field

from consumers.chunk_app import done, new_app, note, quiet_libraries, raw_topic, taken
from consumers.chunk_errors import in_words
from consumers.chunk_limits import START_SECONDS
from consumers.chunk_positions import grace_of, set_first_positions
from consumers.chunk_process import ChunkProcess
from consumers.chunk_protocol import PageRecord, Task
from consumers.chunk_watchdog import Watchdog
from consumers.chunk_work import ChunkWork, Outcome
from pipeline import cli, model_files, topics
from pipeline.dead_letters import DeadLetters
from pipeline.elimination import Mark, metadata_of
from pipeline.errors import Exit, TryAgain
from pipeline.kafka import Cluster
from pipeline.publisher import Message
from pipeline.records import SchemaTooNew
from pipeline.service import Service
from pipeline.settings import MIB, ModelSettings, ServiceSettings

BATCH_PAGES = 32
BATCH_BYTES = 4 * MIB
"""Pages in hand at once; with them, a 5 MB page stays far below 400 MB RSS."""

GRACE_SECONDS = 7.0
"""A batch in hand may take so long after SIGTERM; then it is dropped, and made again by another replica."""

KAFKA_SECONDS = 300.0
"""For a handful of questions to Kafka, each of which gives up sooner, with a line of its own."""

JOIN_SECONDS = 60.0
"""Kafka may take so long until it has answered faust."""

DELIVERY_SECONDS = 90.0
"""Kafka may take so long to acknowledge what was made of a batch; the producer itself gives up before."""

SHARE_OF_WATCHDOG = 0.75
"""A wait for deliveries ends before the watchdog ends the process, and says for what it has waited."""

NOTE_SECONDS = 5.0


class ChunkSettings(ModelSettings, ServiceSettings):
    """Settings of a chunking replica."""

    session_seconds: float = Field(10.0, ge=1, le=300, description="A replica silent for so long loses its work.")


app = cli.new_app("Cuts what is in the topic pages into chunks.<model>.")


@cli.command(app, ChunkSettings)
def chunk(settings: ChunkSettings) -> int:
    """Cuts pages into windows of the model's tokens; one replica a core, at most one a partition."""
    with Service("chunk", settings) as service:
        quiet_libraries()
        cluster = Cluster.connect(settings)
        with service.step(f"finding the model {settings.model}", model_files.RESOLVE_SECONDS):
            files = model_files.resolve(settings, weights=False)
        with service.step("asking Kafka for its topics", KAFKA_SECONDS):
            corpus, model = topics.ensure_corpus(cluster, settings), topics.ensure_model(cluster, settings, files.tag)
            topic_id = topics.topic_ids(cluster, [corpus.pages])[corpus.pages]
        service.metrics.build_info(model=files.tag)
        for notice in files.notices:
            service.log.warning(notice)
        task = Task(
            files=files,
            unit=settings.unit,
            window_tokens=settings.window_tokens,
            overlap_tokens=settings.overlap_tokens,
            topic_id=topic_id,
        )
        with ChunkProcess(task, service.stopping) as process:
            with service.step("starting the process that chunks", 2 * START_SECONDS):
                process.start()
            if process.notice:
                service.log.warning(process.notice)
            with service.step(f"setting the first positions of {model.chunk_group}", KAFKA_SECONDS):
                set_first_positions(cluster, corpus.pages, model.chunk_group)
                max_bytes = cluster.max_message_bytes(model.chunks)
                grace = grace_of(cluster, model.chunk_group)
            letters = DeadLetters(
                None, corpus.dead_letters, service.metrics, settings.max_dead_letters, model=files.tag
            )
            work = ChunkWork(
                process,
                topic_id=topic_id,
                chunks_topic=model.chunks,
                max_bytes=max_bytes,
                letters=letters,
                metrics=service.metrics,
                stopping=service.stopping,
                grace=grace,
            )
            asyncio.run(ChunkStage(service, cluster, settings, work=work, corpus=corpus, model=model).serve())
    return Exit.DONE


class ChunkStage:
    """The faust application, its one agent, and its end."""

    def __init__(
        self,
        service: Service,
        cluster: Cluster,
        settings: ChunkSettings,
        *,
        work: ChunkWork,
        corpus: topics.CorpusTopics,
        model: topics.ModelTopics,
    ) -> None:
        self._service = service
        self._work = work
        self._app = new_app(cluster, model.chunk_group, work.max_bytes, settings.session_seconds, service.metrics)
        self._topics = {name: raw_topic(self._app, name) for name in (model.chunks, corpus.dead_letters)}
        self._app.agent(raw_topic(self._app, corpus.pages), concurrency=1)(self.chunk)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chunker")
        self._in_hand = asyncio.Lock()
        self._delivery_seconds = min(DELIVERY_SECONDS, SHARE_OF_WATCHDOG * service.settings.watchdog_seconds)
        self._watchdog = Watchdog(service, cluster, self._app, work, topic=corpus.pages, group=model.chunk_group)

    async def chunk(self, stream: Any) -> None:
        """The loop: takes what has come, at most a batch, and goes on when Kafka has its chunks."""
        stream = stream.noack()
        batch: list[Any] = []
        async for event in stream.events():
            batch.append(event)
            taken(self._app, event)
            full = len(batch) >= BATCH_PAGES or sum(len(e.message.value or b"") for e in batch) >= BATCH_BYTES
            if not full and not stream.channel.queue.empty():
                continue
            await self._process(batch)
            batch = []

    async def _process(self, events: Sequence[Any]) -> None:
        """Makes and sends the chunks of these events, then acknowledges them; ends the process on any failure."""
        while events := self._current(events):
            if self._service.stopping.is_set():
                await asyncio.Event().wait()  # takes nothing more; cancelled when the application stops
            async with self._in_hand:
                events = events[await self._finish_first(events) :]

    def _current(self, events: Sequence[Any]) -> Sequence[Any]:
        """Without what came before a rebalance: that comes again, here or at its new owner."""
        return [event for event in events if event.message.generation_id == self._app.consumer_generation_id]

    async def _finish_first(self, events: Sequence[Any]) -> int:
        """Finishes the first of these events, mostly all, and says how many."""
        try:
            records = [PageRecord.of(event.message) for event in events]
            outcomes = await asyncio.get_running_loop().run_in_executor(self._pool, self._work.chunk, records)
            await self._deliver(outcomes)
        except asyncio.CancelledError:
            raise  # nothing acknowledged
        except SchemaTooNew as error:
            await self._note_grace(events)
            self._die(error, "a batch of pages")
        except BaseException as error:  # noqa: BLE001 - whatever it is: never acknowledge past a failure
            self._die(error, "a batch of pages")
        finished = events[: len(outcomes)]
        for event in finished:
            event.ack()
        done(self._app, finished)
        return len(finished)

    async def _note_grace(self, events: Sequence[Any]) -> None:
        """Leaves word of when the wait for an upgrade began; where that fails, the next process begins it anew."""
        mark = Mark(newer_since=self._work.grace.beginning or 0)
        try:
            await asyncio.wait_for(note(self._app, events[0].message.tp, metadata_of(mark)), NOTE_SECONDS)
        except Exception as error:  # noqa: BLE001 - of faust, of aiokafka, of the network: it is about to end anyway
            self._service.log.warning("the beginning of the wait for an upgrade is not kept", error=str(error))

    async def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Returns when Kafka has every outcome; a chunk message that its topic refuses becomes a dead letter."""
        metrics = self._service.metrics
        metrics.bytes_in_flight.set(sum(outcome.message.size for outcome in outcomes))
        try:
            async with asyncio.timeout(self._delivery_seconds):
                with metrics.timed("publish"):
                    futures = [await self._send(outcome.message) for outcome in outcomes]
                with metrics.timed("acknowledge"):
                    answers = await asyncio.gather(*futures, return_exceptions=True)
                finals = [await self._final(*pair) for pair in zip(outcomes, answers, strict=True)]
        except TimeoutError:
            raise TryAgain(f"Kafka has acknowledged no batch of chunks for {self._delivery_seconds:.0f} s") from None
        finally:
            metrics.bytes_in_flight.set(0)
        self._work.count(*finals)

    async def _final(self, outcome: Outcome, answer: object) -> Outcome:
        """The outcome that Kafka has, after its answer to this one."""
        if isinstance(answer, MessageSizeTooLargeError) and outcome.letter is None:
            outcome = self._work.too_large(outcome, str(answer))
            await (await self._send(outcome.message))
        elif isinstance(answer, BaseException):
            raise answer
        return outcome

    async def _send(self, message: Message) -> Any:
        return await self._topics[message.topic].send(
            key=message.key, value=message.value, partition=message.partition, headers=list(message.headers)
        )

    def _die(self, error: BaseException, doing: str) -> NoReturn:
        """Ends the process; a stop that was asked for stays one, whatever fails meanwhile."""
        final = in_words(error, doing)
        stopping = self._service.stopping.is_set() and final.exit_code == Exit.TRY_AGAIN
        self._service.die(str(final), Exit.DONE if stopping else final.exit_code)

    async def serve(self) -> None:
        """Runs the application until SIGTERM; ends the process when it has crashed.

        Not by an exception: faust keeps restarting its agent then, and asyncio would wait for that for ever.
        """
        try:
            with self._service.step("starting faust", 2 * JOIN_SECONDS):
                await asyncio.wait_for(self._app.start(), JOIN_SECONDS)
        except Exception as error:  # noqa: BLE001 - of faust, of aiokafka, of the network: one line for all
            self._die(error, "faust cannot start")
        self._watchdog.start()
        while not self._service.stopping.is_set():
            if self._app.crashed:
                self._die(self._watchdog.explain(self._app.crash_reason), "faust has crashed")
            assigned = len(self._app.consumer.assignment())
            self._service.ready = assigned > 0
            self._service.metrics.assigned_partitions.set(assigned)
            self._service.turned()
            await asyncio.sleep(0.2)
        await self._stop()

    async def _stop(self) -> None:
        """Waits for the batch in hand, commits, leaves the group; all within 10 s, else it just ends."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._in_hand.acquire()
                await self._app.stop()
        except TimeoutError:
            self._service.die("the batch in hand was dropped, another replica makes it again", Exit.DONE)


if __name__ == "__main__":
    cli.run(app, "consumers.chunk")
