"""A child gets as little of our environment as it needs, and no secret that is for somebody else."""

from __future__ import annotations

import pytest

from deploy.local.stages import NEEDS, STAGES
from pipeline.child_environment import child_environment, with_secrets_for

ENVIRONMENT = {
    "PATH": "/bin",
    "CIRROSTREAM_WINDOW_TOKENS": "200",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "KAFKA_SASL_PASSWORD": "hunter2",
    "HF_TOKEN": "hf_hunter2",
    "HF_HOME": "/models",
    "AWS_REGION": "eu-central-1",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "GITHUB_TOKEN": "hunter2",
}
NO_SECRETS = {"PATH", "CIRROSTREAM_WINDOW_TOKENS", "KAFKA_BOOTSTRAP_SERVERS", "HF_HOME", "AWS_REGION"}
STORE = {"AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"}


@pytest.mark.parametrize(
    ("stage", "secrets"),
    [
        ("produce", {"KAFKA_SASL_PASSWORD", *STORE}),
        ("chunk", {"KAFKA_SASL_PASSWORD", "HF_TOKEN"}),
        ("embed", {"KAFKA_SASL_PASSWORD", "HF_TOKEN"}),
        ("lance", {"KAFKA_SASL_PASSWORD", "HF_TOKEN", *STORE}),
        ("prometheus", set()),
    ],
)
def test_a_stage_gets_its_settings_and_the_secrets_that_it_needs(stage: str, secrets: set[str]) -> None:
    assert with_secrets_for(NEEDS.get(stage, ()), ENVIRONMENT).keys() == NO_SECRETS | secrets


def test_every_stage_says_what_it_needs() -> None:
    assert set(STAGES) <= set(NEEDS)


def test_a_child_that_works_on_foreign_data_gets_no_secret_and_no_setting_of_ours() -> None:
    assert child_environment(ENVIRONMENT).keys() == {"PATH", "PYTHONPATH"}
