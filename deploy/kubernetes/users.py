"""KafkaUsers as YAML: one a stage, each with the rights that its work needs and no more.

None may create topics: that is how the Topic Operator owns them. A stage that finds one missing ends with code 70
instead of making it with settings of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.kubernetes.topics import CLUSTER
from pipeline.settings import Settings
from pipeline.topics import corpus_topics, lance_group, model_topics

LOOK = ("Describe", "DescribeConfigs")
READ = ("Read", *LOOK)
WRITE = ("Write", *LOOK)
TRIM = ("Delete", *LOOK)

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


@dataclass(frozen=True, slots=True)
class Rule:
    """Operations that are allowed on one resource, or on all whose names begin like this."""

    kind: str
    name: str
    operations: Sequence[str]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """Topics and groups as rules name them: those of a model by what stands before its tag, so for every model."""

    pages: str
    progress: str
    dead_letters: str
    chunks: str
    vectors: str
    chunk_group: str
    embed_group: str
    lance_group: str

    @classmethod
    def of(cls, settings: Settings) -> Names:
        corpus, model = corpus_topics(settings), model_topics(settings, "")
        return cls(
            corpus.pages,
            corpus.progress,
            corpus.dead_letters,
            model.chunks,
            model.vectors,
            model.chunk_group,
            model.embed_group,
            lance_group(settings, ""),
        )


def users_yaml(settings: Settings) -> str:
    """A KafkaUser for each stage, for the lag exporter, for the autoscaler, and for people."""
    names = Names.of(settings)
    stages = {
        "produce": _corpus(names, pages=(*READ, "Write"), progress=(*READ, "Write"), dead_letters=WRITE),
        "chunk": [
            *_corpus(names, pages=READ, dead_letters=WRITE),
            *_model(names, chunks=WRITE),
            *_groups(["Read"], names.chunk_group),
        ],
        "embed": [
            *_corpus(names, dead_letters=WRITE),
            *_model(names, chunks=READ, vectors=WRITE),
            *_groups(["Read"], names.embed_group),
        ],
        "sink": [
            *_corpus(names, dead_letters=WRITE),
            *_model(names, chunks=TRIM, vectors=(*READ, "Delete")),
            *_groups(["Read"], names.lance_group),
            # It trims what every group has committed, so it must see every group: those of others, too.
            Rule("cluster", "kafka-cluster", ["Describe"]),
            Rule("group", "*", ["Describe"]),
        ],
        "lag": _watching(names, READ),
        "keda": _watching(names, ["Describe"]),
        "operator": [
            *_corpus(names, (*READ, "Write"), (*READ, "Write"), (*READ, "Write", "Delete")),
            *_model(names, (*READ, "Write"), (*READ, "Write")),
            *_groups(["Read"], names.chunk_group, names.embed_group, names.lance_group),
            Rule("cluster", "kafka-cluster", LOOK),
            Rule("group", "*", ["Describe"]),
        ],
    }
    return "".join(_user(name, rules) for name, rules in stages.items())


def _watching(names: Names, operations: Sequence[str]) -> list[Rule]:
    return [
        *_corpus(names, operations, operations, operations),
        *_model(names, operations, operations),
        *_groups(["Describe"], names.chunk_group, names.embed_group, names.lance_group),
    ]


def _corpus(
    names: Names, pages: Sequence[str] = LOOK, progress: Sequence[str] = LOOK, dead_letters: Sequence[str] = LOOK
) -> list[Rule]:
    return [
        Rule("topic", names.pages, pages),
        Rule("topic", names.progress, progress),
        Rule("topic", names.dead_letters, dead_letters),
    ]


def _model(names: Names, chunks: Sequence[str] = LOOK, vectors: Sequence[str] = LOOK) -> list[Rule]:
    return [Rule("topic", names.chunks, chunks, prefix=True), Rule("topic", names.vectors, vectors, prefix=True)]


def _groups(operations: Sequence[str], *names: str) -> Iterator[Rule]:
    return (Rule("group", name, operations, prefix=True) for name in names)


def _user(name: str, rules: Sequence[Rule]) -> str:
    return USER.format(name=name, cluster=CLUSTER, rules="".join(map(_rule, rules)))


def _rule(rule: Rule) -> str:
    if rule.kind == "cluster":  # there is one, and it has no name in the resource
        return f"      - resource: {{type: cluster}}\n        operations: [{', '.join(rule.operations)}]\n"
    pattern = "prefix" if rule.prefix else "literal"
    return RULE.format(kind=rule.kind, name=rule.name, pattern=pattern, operations=", ".join(rule.operations))
