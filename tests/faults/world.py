"""A whole pipeline of real processes that a test can kill, stop and wake, and the invariants that must always hold."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lancedb.table import LanceTable

from deploy.local.child import Child
from pipeline import model_files, topics
from pipeline.errors import CirrostreamError, Exit
from pipeline.kafka import Cluster
from pipeline.settings import ModelSettings, TableSettings
from sinks.memory import AT_START
from sinks.storage import connect, has_table, open_table, read_fence
from tests.dumps import pair, write_shard
from tests.waiting import wait_until

WORDS = (  # noqa: SIM905 - a list of these would be thirty lines
    "river mountain city people empire music science battle language church island school winter summer engine "
    "theory planet animal forest market harbour bridge castle poem novel king queen army treaty railway metal glass"
).split()


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(6, 18))).capitalize() + ". "


def text(rng: random.Random, sentences: int) -> str:
    return "".join(sentence(rng) for _ in range(sentences)).strip()


def write_corpus(folder: Path, pages: Iterable[int], *, shards: int = 1, seed: int = 1, longest: int = 60) -> Path:
    """Shards of made-up pages of 1 to `longest` sentences, the same for the same arguments."""
    numbers = list(pages)
    for shard in range(shards):
        lines: list[bytes] = []
        for number in numbers[shard::shards]:
            rng = random.Random(seed * 1_000_003 + number)
            lines += pair(number, text=text(rng, rng.randint(1, longest)), opening_text=sentence(rng))
        write_shard(folder, lines, number=shard)
    return folder


@dataclass
class Replica:
    """One process of the pipeline, started again by `World.tend` as a supervisor would."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    restarts: bool = True
    child: Child | None = None
    codes: list[int] = field(default_factory=list)

    def start(self) -> None:
        self.child = Child([sys.executable, "-m", *self.command], self.log, self.environment)

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def runs(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def ended(self) -> int | None:
        """The exit code, once it has ended."""
        return None if self.child is None else self.child.poll()

    def send(self, number: signal.Signals) -> None:
        if self.runs:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def ask(self, path: str) -> str:
        """What this process answers on its port; empty while it does not, or not well."""
        for announced in Path(self.environment["CIRROSTREAM_ANNOUNCE_DIR"]).glob(f"*-{self.pid}.json"):
            try:
                address = json.loads(announced.read_text())["address"]
                with urllib.request.urlopen(f"http://{address}{path}", timeout=2) as answer:
                    return str(answer.read().decode())
            except (OSError, ValueError):
                return ""
        return ""

    @property
    def ready(self) -> bool:
        """Whether it is in its group and at work, as a probe would see it."""
        return self.runs and bool(self.ask("/healthz/ready"))

    @property
    def works(self) -> bool:
        """Whether it has finished at least one record since it was started."""
        lines = self.ask("/metrics").splitlines() if self.runs else []
        return any(float(line.rsplit(" ", 1)[1]) > 0 for line in lines if line.startswith("cirrostream_records_total"))

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-8:])


class World:
    """Producer, chunkers, embedders and sink on the test's Kafka, with the test's namespace, table and folder."""

    def __init__(self, kafka_environment: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **kafka_environment,
            "CIRROSTREAM_ANNOUNCE_DIR": str(folder / "run"),
            "CIRROSTREAM_DTYPE": "fp32",
            "CIRROSTREAM_THREADS": "1",
            "CIRROSTREAM_MEASURE": "false",
            "CIRROSTREAM_READY_SECONDS": "0",
            "CIRROSTREAM_DATA_DIR": str(folder),
            **AT_START,
            "OMP_NUM_THREADS": "1",
        }
        self.settings = ModelSettings()
        self.table_settings = TableSettings()
        self.cluster = Cluster.connect(self.settings)
        self.names = topics.ensure_corpus(self.cluster, self.settings)
        self.tag = model_files.resolve(self.settings, weights=False).tag
        self.model = topics.ensure_model(self.cluster, self.settings, self.tag)
        self.group = topics.lance_group(self.settings, self.table_settings.table)
        self.replicas: dict[str, Replica] = {}
        self.expected_codes: dict[str, set[int]] = {}

    def add(self, name: str, *command: str, restarts: bool = True, **settings: str) -> Replica:
        """Starts one process; `settings` are CIRROSTREAM_ variables of its own."""
        environment = self.environment | {f"CIRROSTREAM_{key}".upper(): value for key, value in settings.items()}
        replica = Replica(name, list(command), environment, self.folder / "logs" / f"{name}.log", restarts)
        self.replicas[name] = replica
        replica.start()
        return replica

    def add_producer(self, source: Path, name: str = "producer", **settings: str) -> Replica:
        return self.add(name, "producers.cirrus", str(source), restarts=True, **settings)

    def add_chunker(self, name: str, **settings: str) -> Replica:
        return self.add(name, "consumers.chunk", restarts=True, session_seconds="6", **settings)

    def add_embedder(self, name: str, **settings: str) -> Replica:
        return self.add(name, "consumers.embed", restarts=True, session_seconds="6", **settings)

    def add_sink(self, name: str = "sink", *, restarts: bool = True, **settings: str) -> Replica:
        return self.add(name, "sinks.lance", restarts=restarts, batch_seconds="0.3", **settings)

    def tend(self) -> None:
        """What a supervisor does: starts again what was killed or asked for it; any other end fails the test."""
        for replica in self.replicas.values():
            code = replica.ended()
            if code is None or not replica.restarts:
                continue
            if code == Exit.DONE and "producers.cirrus" in replica.command:
                continue
            replica.codes.append(code)
            assert code < 0 or code in (Exit.FATAL, Exit.TRY_AGAIN), f"{replica.name}: {code}: {replica.last_words()}"
            assert len(replica.codes) < 40, f"{replica.name} does not stay up: {replica.last_words()}"
            replica.start()

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
        """Waits as `wait_until` does, tending the processes meanwhile."""

        def tended() -> bool:
            self.tend()
            return bool(condition())

        try:
            wait_until(tended, what, timeout_s)
        except AssertionError as error:
            words = "\n".join(f"--- {r.name} ({r.ended()})\n{r.last_words()}" for r in self.replicas.values())
            raise AssertionError(f"{error}\n{words}") from None

    def produced(self) -> bool:
        """Whether every producer has ended well."""
        producers = [r for r in self.replicas.values() if "producers.cirrus" in r.command]
        return all(replica.ended() == Exit.DONE for replica in producers)

    def complete(self) -> bool:
        """Whether everything sent is stored: each stage has read what the one before had written by then."""
        try:
            return self.produced() and all(
                self._caught_up(group, topic)
                for group, topic in (
                    (self.model.chunk_group, self.names.pages),
                    (self.model.embed_group, self.model.chunks),
                    (self.group, self.model.vectors),
                )
            )
        except CirrostreamError:
            return False

    def _caught_up(self, group: str, topic: str) -> bool:
        committed = self.cluster.committed(group, topic)
        return all(committed.get(p, 0) >= end for p, end in self.cluster.log(topic).ends.items())

    def close(self) -> None:
        for replica in self.replicas.values():
            replica.send(signal.SIGCONT)
            replica.kill()
        self.cluster.close()

    def table(self, name: str | None = None) -> LanceTable:
        """The table as a reader sees it now."""
        return open_table(connect(self.table_settings.lance_location), name or self.table_settings.table)

    def has_table(self) -> bool:
        return has_table(connect(self.table_settings.lance_location), self.table_settings.table)


@dataclass(frozen=True)
class Row:
    """What a live row says, but for its place in Kafka, which differs from run to run."""

    text: str
    title: str
    start: int
    end: int
    n_chunks: int
    vector: np.ndarray


def live_rows(table: LanceTable) -> dict[str, Row]:
    columns = ["id", "text", "title", "start", "end", "n_chunks", "vector"]
    found = table.search().where("n >= 0 AND text IS NOT NULL").select(columns).to_arrow()
    rows = found.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows), "a live id is there twice"
    return {
        row["id"]: Row(
            row["text"], row["title"], row["start"], row["end"], row["n_chunks"], np.asarray(row["vector"], np.float32)
        )
        for row in rows
    }


def assert_same_rows(found: dict[str, Row], undisturbed: dict[str, Row]) -> None:
    """Invariant 4: text and vectors as in a run that nobody disturbed."""
    missing, extra = undisturbed.keys() - found.keys(), found.keys() - undisturbed.keys()
    assert not missing | extra, f"missing {sorted(missing)[:5]}, extra {sorted(extra)[:5]}"
    for key, row in found.items():
        other = undisturbed[key]
        same = (row.text, row.title, row.start, row.end, row.n_chunks)
        assert same == (other.text, other.title, other.start, other.end, other.n_chunks), key
        cosine = float(row.vector @ other.vector / np.linalg.norm(row.vector) / np.linalg.norm(other.vector))
        assert cosine >= 0.9999, f"{key}: cosine {cosine}"


class Watch:
    """Looks at the table and the commits during a run: invariants 2 and 3 hold at every moment, not only at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cluster = Cluster.connect(world.settings)
        self._stopping = threading.Event()
        self._committed: dict[int, int] = {}
        self._fence: dict[int, int] = {}
        self.looks = 0
        self.violations: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.3):
            try:
                if self._world.has_table():
                    self.look()
            except (CirrostreamError, RuntimeError, ValueError, OSError):
                continue  # being written or cleaned up: look again

    def look(self) -> None:
        committed = self._cluster.committed(self._world.group, self._world.model.vectors)
        table = self._world.table()
        fence = read_fence(table).fence.offsets
        for partition, offset in committed.items():
            if offset > fence.get(partition, 0):
                self.violations.append(f"partition {partition}: committed {offset} > fence {fence.get(partition)}")
        for name, before, now in (("commit", self._committed, committed), ("fence", self._fence, fence)):
            back = {p: (before[p], now[p]) for p in before.keys() & now.keys() if now[p] < before[p]}
            if back:
                self.violations.append(f"{name} went back: {back}")
        ids = table.search().where("n >= 0 AND text IS NOT NULL").select(["id"]).to_arrow()["id"].to_pylist()
        twice = [key for key, count in Counter(ids).items() if count > 1]
        if twice:
            self.violations.append(f"live ids twice: {twice[:5]}")
        self._committed, self._fence = dict(committed), dict(fence)
        self.looks += 1

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(30)
        self._cluster.close()

    def assert_nothing_was_wrong(self) -> None:
        assert self.looks > 3, "the watch saw nothing"
        assert not self.violations, self.violations[:5]


def pause_between(rng: random.Random, least: float, most: float, world: World) -> None:
    """Lets the pipeline run for a random while, tending it."""
    deadline = time.monotonic() + rng.uniform(least, most)
    while time.monotonic() < deadline:
        world.tend()
        time.sleep(0.05)
