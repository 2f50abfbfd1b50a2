"""Renders the manifests that follow from the code, and refuses a table on a pod's own disk."""

from __future__ import annotations

import re

from deploy.kubernetes.rules import rules_yaml
from deploy.kubernetes.topics import names_yaml, topics_yaml
from deploy.kubernetes.users import users_yaml
from pipeline.cli import command, new_app, run
from pipeline.errors import Exit, UsageError
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings, Settings, TableSettings
from pipeline.terminal import say

GENERATED = "# Written by `python -m deploy.kubernetes {name}`; a test compares it with the code.\n"
BUCKET = re.compile(r"(s3|s3\+ddb|gs|az|abfss|oss)://[^/]+(/.*)?")
"""Addresses that LanceDB takes for a bucket."""


class TopicsSettings(ModelSettings):
    """Settings that the names and configurations of the topics depend on."""


class UsersSettings(Settings):
    """Settings that the rights of the users depend on."""


class CheckSettings(TableSettings):
    """The place for the table."""


app = new_app("Renders Kubernetes manifests that follow from the code.")


@command(app, TopicsSettings)
def topics(settings: TopicsSettings) -> int:
    """Prints a KafkaTopic for each topic of the pipeline."""
    say(GENERATED.format(name="topics") + topics_yaml(settings, _tag(settings)))
    return Exit.DONE


@command(app, TopicsSettings)
def names(settings: TopicsSettings) -> int:
    """Prints the names of topics and groups that the autoscaler watches."""
    say(GENERATED.format(name="names") + names_yaml(settings, _tag(settings)))
    return Exit.DONE


@command(app, UsersSettings)
def users(settings: UsersSettings) -> int:
    """Prints a KafkaUser for each stage."""
    say(GENERATED.format(name="users") + users_yaml(settings))
    return Exit.DONE


@command(app, UsersSettings)
def rules(settings: UsersSettings) -> int:
    """Prints the alerts as PrometheusRules."""
    say(GENERATED.format(name="rules") + rules_yaml())
    return Exit.DONE


@command(app, CheckSettings)
def check(settings: CheckSettings) -> int:
    """Refuses a table on a pod's own disk, which ends with the pod."""
    location = settings.lance_location
    if not BUCKET.fullmatch(location):
        raise UsageError(
            f"--lance-uri {location}: a folder of this pod, and gone with it; set CIRROSTREAM_LANCE_URI in the "
            "ConfigMap cirrostream-table to a bucket, such as s3://bucket/lance or gs://bucket/lance"
        )
    return Exit.DONE


def _tag(settings: ModelSettings) -> str:
    return resolve(settings, weights=False).tag


if __name__ == "__main__":
    run(app, "deploy.kubernetes")
