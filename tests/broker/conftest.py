"""Chunk stages, each on topics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import topics
from pipeline.kafka import Cluster
from pipeline.model_files import resolve
from pipeline.publisher import Publisher
from pipeline.settings import ModelSettings, Settings
from tests.broker.chunk_stage import SESSION_SECONDS, NewStage, Stage
from tests.conftest import SettingsEnv


@pytest.fixture
def new_stage(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[NewStage]:
    stages: list[Stage] = []

    def make(**settings: object) -> Stage:
        env = settings_env(session_seconds=SESSION_SECONDS, **settings)
        cluster = Cluster.connect(Settings())
        corpus = topics.ensure_corpus(cluster, Settings())
        model = topics.ensure_model(cluster, Settings(), resolve(ModelSettings(), weights=False).tag)
        stages.append(Stage(cluster, env, tmp_path, corpus, model, Publisher(cluster)))
        return stages[-1]

    yield make
    for stage in stages:
        for replica in stage.replicas:
            replica.kill()
            replica.wait()
        stage.publisher.close()
        stage.cluster.close()
