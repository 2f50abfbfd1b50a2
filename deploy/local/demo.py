"""The demo: real text through the whole pipeline, the proof that all of it arrived, and three searches.

It is a check as well: it fails when the table is not complete, or when the first hit of a search is not the article
that a person would expect.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

from rich.text import Text

from deploy.local.run import local_kafka, run_pipeline
from deploy.local.run_settings import DemoSettings, RunSettings, of_source
from deploy.local.sample import write_sample
from pipeline.errors import CheckFailed, Exit
from pipeline.kafka import Cluster
from pipeline.terminal import Console
from pipeline.topics import corpus_topics
from producers.account import total
from producers.run.progress import read_progress
from producers.run.shards import find_shards
from sinks.search import Answer, Search, SearchOptions
from sinks.search.highlight import snippet, words_of
from sinks.search.screen import credits_of
from sinks.verify import report as verify_report
from sinks.verify.proof import VerifySettings, verified


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose words are not the title of the article that answers it."""

    text: str
    expected: str


QUESTIONS = (
    Question("Why does fresh snow reflect more sunlight than dark soil?", "Albedo"),
    Question("Who gave a speech at Gettysburg and ended slavery in the United States?", "Abraham Lincoln"),
    Question("Which martial art turns the attacker's own momentum against him?", "Aikido"),
)

NEXT = """What to type next:
  .venv/bin/cirrostream search         ask your own questions; docs/search.md tells how
  .venv/bin/cirrostream run FILE…      put a dump or documents of yours into the table (docs/own-documents.md)
  .venv/bin/cirrostream reset --yes    start over from nothing"""


def demo(settings: DemoSettings) -> int:
    """Runs the demo; its exit code.

    Raises:
        CheckFailed: something is missing in the table, or a search found another article first.
    """
    console = Console(stderr=True)
    began = time.monotonic()
    chosen = settings.model_dump(include=settings.model_fields_set)
    folder = write_sample(settings.data_dir / "sample", settings.data_dir / "downloads")
    console.print(f"sample: 106 articles and 100 redirects of the English Wikipedia in {folder}", soft_wrap=True)
    run = of_source(RunSettings, "cirrus")(**chosen, sources=[str(folder)])
    with local_kafka(run):  # for the verification too, which reads `pages`
        code = run_pipeline(run)
        if code != Exit.DONE:
            return code
        with closing(Cluster.connect(settings)) as cluster:
            _account(cluster, run, console)
            _prove(cluster, VerifySettings(**chosen), console)
    _ask(chosen, console)
    console.print(f"\nAll as expected, in {time.monotonic() - began:.0f} s. {NEXT}", soft_wrap=True)
    return Exit.DONE


def _account(cluster: Cluster, run: RunSettings, console: Console) -> None:
    """The ledger of the sample's shards, over all runs."""
    progress = read_progress(cluster, corpus_topics(run).progress)
    found = [progress.get(shard.key) for shard in find_shards(run.sources, run.reads.names)]
    ledger = total([each.ledger for each in found if each is not None])
    console.print(f"\nledger: {ledger.read:,} documents read = {ledger.produced:,} produced", end="")
    for what, counts in (("dropped", ledger.dropped), ("malformed", ledger.malformed)):
        for reason, count in sorted(counts.items()):
            console.print(f" + {count:,} {what} ({reason})", end="")
    console.print()
    if not ledger.balanced or None in found:
        raise CheckFailed("the ledger does not balance: documents are missing in it")


def _prove(cluster: Cluster, settings: VerifySettings, console: Console) -> None:
    report, _ = verified(cluster, settings)
    console.print()
    verify_report.show(report, console)
    if not report.ok:
        raise CheckFailed("the table is not what was sent, see above; the logs are in the data folder")


def _ask(chosen: dict[str, object], console: Console) -> None:
    surprises, hits = [], []
    with Search.open(SearchOptions(**chosen)) as search:  # type: ignore[arg-type]
        for question in QUESTIONS:
            answer = search.answer(question.text, k=3)
            _show(answer, console)
            hits += answer.hits
            found = answer.hits[0].title if answer.hits else "nothing"
            if found != question.expected:
                surprises.append(f"{question.text} found {found}, not {question.expected}")
            surprises += [f"the {leg.name} leg failed: {leg.why}" for leg in answer.legs if leg.state == "failed"]
    for line in credits_of(hits):
        console.print(f"\n{line}")
    if surprises:
        raise CheckFailed("; ".join(surprises))


def _show(answer: Answer, console: Console) -> None:
    console.print(Text(f"\n{answer.question}", style="bold"))
    words = words_of(answer.question)
    for hit in answer.hits:
        line = f"  {hit.score:.3f}  {hit.title}: {snippet(hit.text, words)}"
        console.print(Text(line), no_wrap=True, overflow="ellipsis")
