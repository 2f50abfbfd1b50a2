"""The rights that each part of the pipeline needs in Kafka, and no more; for every model.

None may create topics: with authorisation, topics are made once, by who may, and a stage that finds one missing ends
with code 70 instead of making it with settings of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.settings import Settings
from pipeline.topics import corpus_topics, lance_group, model_topics

Operation = Literal["Read", "Write", "Delete", "Describe", "DescribeConfigs"]
Operations = tuple[Operation, ...]

LOOK: Operations = ("Describe", "DescribeConfigs")
READ: Operations = ("Read", *LOOK)
WRITE: Operations = ("Write", *LOOK)
TRIM: Operations = ("Delete", *LOOK)


@dataclass(frozen=True, slots=True)
class Right:
    """Operations that are allowed on one resource, or on all whose names begin like this."""

    kind: Literal["topic", "group", "cluster"]
    name: str
    operations: Operations
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


def rights_of_parts(settings: Settings) -> dict[str, list[Right]]:
    """The rights of each stage, of the lag exporter, of the autoscaler, and of people."""
    names = Names.of(settings)
    return {
        "produce": _corpus(names, pages=(*READ, "Write"), progress=(*READ, "Write"), dead_letters=WRITE),
        "chunk": [
            *_corpus(names, pages=READ, dead_letters=WRITE),
            *_model(names, chunks=WRITE),
            *_groups(("Read",), names.chunk_group),
        ],
        # Nothing of the corpus, not even where it ends: these run where GPUs are cheap.
        "embed": [
            Right("topic", names.dead_letters, WRITE),
            *_model(names, chunks=READ, vectors=WRITE),
            *_groups(("Read",), names.embed_group),
        ],
        "sink": [
            *_corpus(names, dead_letters=WRITE),
            *_model(names, chunks=TRIM, vectors=(*READ, "Delete")),
            *_groups(("Read",), names.lance_group),
            # It trims what every group has committed, so it must see every group: those of others, too.
            Right("cluster", "kafka-cluster", ("Describe",)),
            Right("group", "*", ("Describe",)),
        ],
        "lag": _watching(names, READ),
        "keda": _watching(names, ("Describe",)),
        "operator": [
            *_corpus(names, (*READ, "Write"), (*READ, "Write"), (*READ, "Write", "Delete")),
            # Whatever a stage may do to these: the doctor asks for all of it at once.
            *_model(names, (*READ, "Write", "Delete"), (*READ, "Write", "Delete")),
            *_groups(("Read",), names.chunk_group, names.embed_group, names.lance_group),
            Right("cluster", "kafka-cluster", LOOK),
            Right("group", "*", ("Describe",)),
        ],
    }


def worker_rights(settings: Settings, *, chunk: bool = False) -> list[Right]:
    """The rights of `deploy.local workers` on a host elsewhere: to embed, and to see whether more is to come.

    Args:
        chunk: whether it runs chunkers, too, which read the whole corpus.
    """
    parts, names = rights_of_parts(settings), Names.of(settings)
    if chunk:
        return [*parts["chunk"], *parts["embed"]]
    looking = [Right("topic", names.pages, LOOK), Right("topic", names.progress, LOOK)]
    return [*parts["embed"], *looking, *_groups(("Describe",), names.chunk_group)]


def _watching(names: Names, operations: Operations) -> list[Right]:
    return [
        *_corpus(names, operations, operations, operations),
        *_model(names, operations, operations),
        *_groups(("Describe",), names.chunk_group, names.embed_group, names.lance_group),
    ]


def _corpus(
    names: Names, pages: Operations = LOOK, progress: Operations = LOOK, dead_letters: Operations = LOOK
) -> list[Right]:
    return [
        Right("topic", names.pages, pages),
        Right("topic", names.progress, progress),
        Right("topic", names.dead_letters, dead_letters),
    ]


def _model(names: Names, chunks: Operations = LOOK, vectors: Operations = LOOK) -> list[Right]:
    return [Right("topic", names.chunks, chunks, prefix=True), Right("topic", names.vectors, vectors, prefix=True)]


def _groups(operations: Operations, *names: str) -> Iterator[Right]:
    return (Right("group", name, operations, prefix=True) for name in names)
