"""What all tests share: one real Kafka for the whole run, and names that keep tests apart on it."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from deploy.local.kafka import LocalKafka
from pipeline.errors import TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.settings import Settings
from tests import ROOT
from tests.programs import missing

# A busy machine is no failure. In CI it builds on Hypothesis' own profile there: the same examples every time.
hypothesis.settings.register_profile(
    "cirrostream",
    parent=hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cirrostream")

BROKER = ROOT / "tests" / "broker"
OURS = ("CIRROSTREAM_", "KAFKA_")

SettingsEnv = Callable[..., dict[str, str]]
"""`settings_env(unit="lead", …)`: see the fixture."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a Kafka: `make check` leaves it out."""
    for item in items:
        if BROKER in item.path.parents or "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded Apache Kafka that lives as long as the test session.

    Without its packages or its jars the tests that need it fail in CI, and are skipped, saying so, elsewhere.
    """
    broker = LocalKafka(tmp_path_factory.mktemp("kafka"), port=0)
    try:
        broker.start()
    except (UsageError, TryAgain) as error:
        missing(f"no Kafka to test with: {error}")
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


@pytest.fixture(autouse=True)
def levels_of_loggers() -> Iterator[None]:
    """A command that quiets Kafka's client does so for its process, which is a test's own no longer than the test."""
    levels = {name: logging.getLogger(name).level for name in ("kafka", "aiokafka", "faust", "mode")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def extract_folder() -> Path:
    """The folder that `make demo` keeps the extract in as well; 28 MB are downloaded for it once."""
    return ROOT / "data" / "downloads"


@pytest.fixture
def namespace() -> str:
    """A name no other test has: `CIRROSTREAM_NAMESPACE` puts it in front of all topics and groups."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not decide what a test sees."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def settings_env(kafka: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsEnv:
    """Sets the environment so that every settings class finds the test's Kafka, namespace and data folder.

    `settings_env(unit="lead", window_tokens=32)` adds `CIRROSTREAM_UNIT` and so on; None removes one. It
    returns the whole environment, for a child process. Topics get 4 partitions, metrics any port, and no
    table is measured or waited for.
    """

    def set_up(**settings: object) -> dict[str, str]:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
        defaults = {"namespace": namespace, "data_dir": tmp_path, "partitions": 4, "metrics_port": 0}
        defaults |= {"measure": "false", "ready_seconds": 0}
        for name, value in {**defaults, **settings}.items():
            if value is None:
                monkeypatch.delenv(f"CIRROSTREAM_{name}".upper(), raising=False)
            else:
                monkeypatch.setenv(f"CIRROSTREAM_{name}".upper(), str(value))
        return dict(os.environ)

    return set_up


@pytest.fixture
def cluster(settings_env: SettingsEnv) -> Iterator[Cluster]:
    """The test's Kafka, with the test's namespace and folder."""
    settings_env()
    cluster = Cluster.connect(Settings())
    yield cluster
    cluster.close()
