"""Worlds to break, each on its own namespace, table and folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SettingsEnv
from tests.faults.world import World

NewWorld = Callable[..., World]


@pytest.fixture
def new_world(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[NewWorld]:
    """`new_world(unit="lead")`: a pipeline without processes yet; all of them are ended with the test."""
    worlds: list[World] = []

    def make(**settings: object) -> World:
        name = f"w{uuid.uuid4().hex[:10]}"
        environment = settings_env(namespace=name, data_dir=tmp_path / name, **settings)
        worlds.append(World(environment, tmp_path / name))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
