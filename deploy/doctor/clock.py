"""Our clock against the brokers', by the one timestamp of theirs that can be asked for: a record's LogAppendTime.

All other timestamps in Kafka are the clients' own. So one record goes into a topic that is made for it and deleted; on
return it has the broker's time, which lies between our times before and after the send.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError, for_code

from deploy.doctor.findings import Finding, fail, ok, warn
from pipeline.errors import Fatal
from pipeline.kafka import CALL_TIMEOUT_MS, Cluster
from pipeline.settings import Settings

LITTLE_S = 2.0
"""Above it, lag in seconds and the age of a replica's progress are off by more than they say."""
MUCH_S = 300.0
"""Object stores refuse signatures that are 15 minutes off, Kafka records that are an hour ahead."""
MEND = "start time synchronisation on both machines: sudo timedatectl set-ntp true"


def check_clock(cluster: Cluster, settings: Settings) -> Finding:
    """Compares the clocks; leaves nothing behind. Raises Fatal when the topic cannot be made or written."""
    topic = ".".join(filter(None, (settings.namespace, f"doctor-{uuid.uuid4().hex[:8]}")))
    configs = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact"}
    wanted = {topic: {"num_partitions": 1, "replication_factor": 1, "configs": configs}}
    made = cluster.call(lambda: cluster.admin.create_topics(wanted, raise_errors=False))["topics"][0]
    if made["error_code"]:
        raise Fatal(f"topic {topic} cannot be made: {for_code(made['error_code']).__name__}")
    try:
        skew, error = _skew(cluster, topic)
    finally:
        with suppress(KafkaError):
            cluster.admin.delete_topics([topic])
    return finding_of(skew, error)


def finding_of(skew: float, error: float) -> Finding:
    """The finding about a difference of so many seconds, known to plus or minus `error`."""
    found = f"this clock and the broker's are {abs(skew):.2f} s apart (to ± {error:.2f} s)"
    if abs(skew) - error > MUCH_S:
        return fail(found, MEND)
    return warn(found, MEND) if abs(skew) - error > LITTLE_S else ok(found)


def _skew(cluster: Cluster, topic: str) -> tuple[float, float]:
    """Seconds that the broker's clock is ahead, and how far from right that may be: half of the round trip."""
    producer = cluster.connected(KafkaProducer, acks="all")
    try:
        _append(producer, topic)  # connections and the producer's id take their time the first time
        before = time.time()
        stamp = _append(producer, topic)
        after = time.time()
    finally:
        producer.close(timeout=5)
    return stamp - (before + after) / 2, (after - before) / 2 + 0.001


def _append(producer: KafkaProducer, topic: str) -> float:
    sent = producer.send(topic, key=b"clock", value=b"?").get(CALL_TIMEOUT_MS / 1000)
    return float(sent.timestamp) / 1000
