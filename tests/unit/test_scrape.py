"""What the runner learns from the processes' own metrics."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.scrape import Announced, Reading, Totals, announced, read
from pipeline.service import Service
from pipeline.settings import ServiceSettings


def test_a_services_counters_are_read_where_it_announces_itself(tmp_path: Path) -> None:
    with Service("embed", ServiceSettings(announce_dir=tmp_path, metrics_port=0)) as service:
        service.metrics.count(7)
        service.metrics.count(2, event="skipped")
        service.metrics.tokens.inc(1_000)
        service.metrics.assigned_partitions.set(4)
        [process] = announced(tmp_path)
        reading = read(process)
    assert reading is not None
    assert (reading.stage, reading.records, reading.tokens, reading.assigned) == ("embed", 7, 1_000, 4)
    assert announced(tmp_path) == []
    assert read(process) is None, "nobody answers there any more"


def test_a_half_written_announcement_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "embed-1.json").write_text('{"service": "emb')
    (tmp_path / "embed-2.json").write_text(json.dumps({"service": "embed", "pid": 2, "address": "127.0.0.1:1"}))
    assert announced(tmp_path) == [Announced("embed", 2, "127.0.0.1:1")]


def test_a_restarted_process_does_not_take_back_what_the_dead_one_counted() -> None:
    totals = Totals()
    totals.take([Reading("embed", pid=1, records=10, tokens=100), Reading("chunk", pid=2, records=5)])
    totals.take([Reading("embed", pid=1, records=12, tokens=120)])
    totals.take([Reading("embed", pid=3, records=1, tokens=10)])
    assert totals.of("embed").records == 13
    assert totals.of("embed").tokens == 130
    assert totals.of("lance").records == 0
