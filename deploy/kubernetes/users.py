"""KafkaUsers as YAML: one a part of the pipeline, with its rights (deploy/rights.py)."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.kubernetes.topics import CLUSTER
from deploy.rights import Right, rights_of_parts
from pipeline.settings import Settings

USER = """\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: cirrostream-{name}
  labels:
    strimzi.io/cluster: {cluster}
spec:
  authentication:
    type: scram-sha-512
  authorization:
    type: simple
    acls:
{rules}"""

RULE = """\
      - resource: {{type: {kind}, name: "{name}", patternType: {pattern}}}
        operations: [{operations}]
"""


def users_yaml(settings: Settings) -> str:
    """A KafkaUser for each part."""
    return "".join(_user(name, rights) for name, rights in rights_of_parts(settings).items())


def _user(name: str, rights: Sequence[Right]) -> str:
    return USER.format(name=name, cluster=CLUSTER, rules="".join(map(_rule, rights)))


def _rule(right: Right) -> str:
    if right.kind == "cluster":  # there is one, and it has no name in the resource
        return f"      - resource: {{type: cluster}}\n        operations: [{', '.join(right.operations)}]\n"
    pattern = "prefix" if right.prefix else "literal"
    return RULE.format(kind=right.kind, name=right.name, pattern=pattern, operations=", ".join(right.operations))
