"""Clients of one Kafka cluster, with the settings that measured best, and the few questions that we ask it.

kafka-python works without `crc32c` and `zstandard`, but then computes checksums in Python (8 KB records: 10 instead
of 111 MB/s) and cannot read our topics; nothing warns, so `Cluster.connect` does.
"""

from __future__ import annotations

import importlib.util
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, KafkaTimeoutError, LeaderNotAvailableError

from pipeline.errors import Fatal, TryAgain, UsageError
from pipeline.header_names import read_any_header_name
from pipeline.kafka_errors import in_words, translated
from pipeline.listener import NotKafka, contradiction, look_at
from pipeline.offsets import TopicLog, committed_offsets, descriptions, of_topic, topic_logs
from pipeline.servers import Server, parse_servers
from pipeline.settings import KafkaSettings, Settings, kafka_settings
from pipeline.topic_rules import LARGEST_RECORD

C = TypeVar("C")
R = TypeVar("R")

BOOTSTRAP_TIMEOUT_MS = 10_000
CALL_TIMEOUT_MS = 15_000
READ_SECONDS = 3_600.0
"""Longest that reading a topic to its end may take, by default."""


def bootstrap_file(data_dir: Path) -> Path:
    """The file in which the local Kafka of this data folder leaves its `host:port` while it runs."""
    return data_dir / "kafka" / "bootstrap"


def _servers(kafka: KafkaSettings, data_dir: Path) -> tuple[Server, ...]:
    if kafka.bootstrap_servers:
        return parse_servers(kafka.bootstrap_servers)
    file = bootstrap_file(data_dir)
    try:
        return parse_servers(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise UsageError(
            f"no Kafka: KAFKA_BOOTSTRAP_SERVERS is not set and no local Kafka runs in {data_dir}; "
            f"start one with `python -m deploy.local kafka --data-dir {data_dir}`, or name a cluster"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: no address of a local Kafka ({error}); delete the file") from None


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """The checks and certificates of every client of a TLS listener; None for a listener without TLS.

    Raises:
        UsageError: a file is no certificate or key.
    """
    if not kafka.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None)
        if kafka.ssl_certfile is not None:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"KAFKA_SSL_CAFILE, _CERTFILE or _KEYFILE: {error}") from None
    return context


def _security(kafka: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {"security_protocol": kafka.security_protocol, "ssl_context": tls_context(kafka)}
    if kafka.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = kafka.sasl_mechanism
        config["sasl_plain_username"] = kafka.sasl_username
        config["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    return config


class Cluster:
    """A Kafka cluster that answered when this was made, and how to reach it.

    The admin client behind the questions is made at the first one; `close` ends it.
    """

    def __init__(self, kafka: KafkaSettings, data_dir: Path) -> None:
        self.kafka = kafka
        self.servers = _servers(kafka, data_dir)
        self._admin: KafkaAdminClient | None = None
        self._limits: dict[str, int] = {}

    @classmethod
    def connect(cls, settings: Settings) -> Cluster:
        """The cluster of the environment, or the local Kafka of the data folder.

        Raises:
            UsageError: neither is there.
            TryAgain: it does not answer.
            Fatal: a library is missing without which it would crawl.
        """
        for module in ("crc32c", "zstandard"):
            if importlib.util.find_spec(module) is None:
                raise Fatal(f"the package {module} is missing: type `pip install {module}`")
        cluster = cls(kafka_settings(), settings.data_dir)
        cluster.admin  # noqa: B018 - the first connection is the check
        return cluster

    @property
    def bootstrap(self) -> str:
        """The servers as `KAFKA_BOOTSTRAP_SERVERS` names them."""
        return ",".join(map(str, self.servers))

    def client_config(self) -> dict[str, Any]:
        """The settings of every kafka-python client of this cluster."""
        return {
            "bootstrap_servers": [str(server) for server in self.servers],
            "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
            # The default of 30 s keeps everything still for up to a minute after a broker restart.
            "reconnect_backoff_max_ms": 1_000,
            **_security(self.kafka),
        }

    @property
    def admin(self) -> KafkaAdminClient:
        if self._admin is None:
            self._admin = self.connected(KafkaAdminClient, request_timeout_ms=CALL_TIMEOUT_MS)
        return self._admin

    def connected(self, client: Callable[..., C], **config: Any) -> C:
        """A kafka-python client of this cluster, made and connected.

        Raises:
            TryAgain: nobody answers.
            UsageError: a listener answers, and wants another protocol or mechanism.
            CirrostreamError: the cluster refuses us; see `in_words`.
        """
        try:
            return client(**{**self.client_config(), **config})
        except (KafkaTimeoutError, OSError) as error:
            self._check_listener()
            # A broker ends the connection of one that it does not let in, which looks the same from here.
            login = "" if self.kafka.security_protocol == "PLAINTEXT" else ", and does it take this login?"
            raise TryAgain(f"no Kafka answers at {self.bootstrap}: {error}; is it running{login or '?'}") from error
        except KafkaError as error:
            raise in_words(error, f"Kafka at {self.bootstrap}") from error

    def _check_listener(self) -> None:
        """Asks a listener what it wants: a client with the wrong settings learns only that nobody answers."""
        server = self.servers[0]
        try:
            listener = look_at(server.host, server.port)
        except (OSError, NotKafka):
            return
        found = contradiction(listener, self.kafka.security_protocol, self.kafka.sasl_mechanism)
        if found is not None and not listener.wants_certificate:
            raise UsageError(f"{server} {found.said}: set {found.setting}={found.right}, or name another listener")

    def consumer(self, group: str | None = None, **overrides: Any) -> KafkaConsumer:
        """A consumer that commits only when told, and takes a gap for an error instead of jumping over it."""
        config: dict[str, Any] = {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "isolation_level": "read_committed",
            "metrics_enabled": False,
            **overrides,
        }
        read_any_header_name()
        return self.connected(KafkaConsumer, **config)

    def describe(self, topic: str) -> Mapping[str, Any]:
        """Kafka's description of a topic. Raises Fatal when there is no such topic."""
        found = descriptions(self, [topic]).get(topic)
        if found is None:
            raise self._no_topic(topic)
        return found

    def _no_topic(self, topic: str) -> Fatal:
        return Fatal(
            f"no topic {topic} at {self.bootstrap}: a producer makes it when it first runs; "
            "or is this another cluster, or another --namespace?"
        )

    def configs(self, topic: str) -> dict[str, str]:
        """All configuration values of a topic, defaults included."""
        answer = self.call(lambda: self.admin.describe_configs([ConfigResource("topic", topic)], config_filter="all"))
        return {name: str(config["value"]) for name, config in answer["topic"][topic].items()}

    def max_message_bytes(self, topic: str) -> int:
        """The largest record that we may send there: what the topic took when first asked (see `forget_limits`), and
        never more than `LARGEST_RECORD`."""
        if topic not in self._limits:
            self._limits[topic] = min(int(self.configs(topic)["max.message.bytes"]), LARGEST_RECORD)
        return self._limits[topic]

    def forget_limits(self) -> None:
        """Asks again the next time: somebody may have changed a topic."""
        self._limits.clear()

    def log(self, topic: str) -> TopicLog:
        """The beginnings and ends of a topic's partitions.

        Raises:
            Fatal: there is no such topic.
            TryAgain: a partition has no leader for longer than a moment.
        """

        def ask() -> TopicLog:
            log = topic_logs(self, [topic]).get(topic)
            if log is None:
                raise self._no_topic(topic)
            if log.leaderless:
                raise LeaderNotAvailableError(topic)
            return log

        return self.call(ask)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Committed offset of each partition that has one."""
        return of_topic(committed_offsets(self, [group])[group], topic)

    def trim(self, topic: str, before: Mapping[int, int]) -> None:
        """Deletes the records below these offsets (Kafka: DeleteRecords)."""
        wanted = {TopicPartition(topic, partition): offset for partition, offset in before.items()}
        if wanted:
            self.call(lambda: self.admin.delete_records(wanted, timeout_ms=CALL_TIMEOUT_MS))

    def close(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def call(self, ask: Callable[[], R]) -> R:
        """The answer to a question asked of the cluster; asked again while Kafka says that it only needs a moment.

        Raises:
            TryAgain: it needed more than `CALL_TIMEOUT_MS`.
            CirrostreamError: it refused; see `in_words`.
        """
        deadline = time.monotonic() + CALL_TIMEOUT_MS / 1000
        while True:
            try:
                return ask()
            except KafkaError as error:
                problem = in_words(error, f"Kafka at {self.bootstrap}")
                self._forget_coordinators()
                if not isinstance(problem, TryAgain) or time.monotonic() > deadline:
                    raise problem from error
            time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter

    def _forget_coordinators(self) -> None:
        """Trap: kafka-python's admin client asks the broker that was a group's coordinator once, for good."""
        if self._admin is not None:
            self._admin._manager.cluster._coordinators.clear()


def read_to_end(
    cluster: Cluster, topic: str, partitions: list[int] | None = None, deadline_s: float = READ_SECONDS
) -> Iterator[ConsumerRecord]:
    """The records of a topic from its start to the end that it has now, partition by partition interleaved.

    Raises:
        TryAgain: `deadline_s` passed without reaching the end.
    """
    ranges = cluster.log(topic).ranges
    chosen = ranges if partitions is None else {p: ranges[p] for p in partitions}
    yield from read_range(cluster, topic, chosen, deadline_s)


def read_range(
    cluster: Cluster, topic: str, ranges: Mapping[int, tuple[int, int]], deadline_s: float = READ_SECONDS
) -> Iterator[ConsumerRecord]:
    """The records from a first offset up to, not including, a second one, for each partition.

    The end is judged by position, not by counting records: compaction and transaction markers leave gaps.

    Raises:
        TryAgain: `deadline_s` passed without reaching the end, or Kafka went away.
        Forbidden: this user may not read the topic.
        Fatal: the records were deleted while they were read.
    """
    open_ = {TopicPartition(topic, p): end for p, (start, end) in ranges.items() if end > start}
    if not open_:
        return
    deadline = time.monotonic() + deadline_s
    consumer = cluster.consumer(fetch_max_wait_ms=50)
    try:
        with translated(topic):
            consumer.assign(list(open_))
            for partition in open_:
                consumer.seek(partition, ranges[partition.partition][0])
        while open_:
            with translated(topic):
                polled: Mapping[TopicPartition, list[ConsumerRecord]] = consumer.poll(timeout_ms=200)
            for partition, records in polled.items():
                yield from (record for record in records if record.offset < ranges[partition.partition][1])
            for partition in list(open_):
                if _position(consumer, partition) >= open_[partition]:
                    del open_[partition]
                    consumer.pause(partition)
            if time.monotonic() > deadline:
                raise TryAgain(f"{topic}: its end was not reached in {deadline_s:.0f} s")
    finally:
        consumer.close()


def _position(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    with translated(partition.topic):
        return consumer.position(partition) or 0
