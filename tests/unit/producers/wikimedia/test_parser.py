"""Wikitext is parsed in processes: none of it holds up, fills or kills the one that asks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.errors import CirrostreamError, Fatal, TryAgain
from pipeline.rejected import Rejected
from producers.wikimedia import parser
from producers.wikimedia.links import LinkNames
from producers.wikimedia.parser import MarkupParser
from producers.wikimedia.parser_child import Parsed, seconds_for
from tests.waiting import wait_until

SLOW = "{{a|" * 50_000
GOOD = Parsed("Good.", "Good.")


CTRL_C = """
import os, signal, subprocess
from producers.wikimedia.parser import MarkupParser
start = subprocess.Popen
def started(*arguments, **options):
    process = start(*arguments, **options)
    os.killpg(0, signal.SIGINT)
    return process
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
subprocess.Popen = started
with MarkupParser() as parser:
    print(parser.parse("Good.", lambda: None).text)
"""


def no_tick() -> None:
    pass


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "producers.wikimedia.parser_child" in child.cmdline()]


def environment(child: psutil.Process) -> str:
    return (Path("/proc") / str(child.pid) / "environ").read_text()


@pytest.fixture
def one() -> Iterator[MarkupParser]:
    with MarkupParser() as made:
        yield made


def test_a_page_that_takes_too_long_costs_its_limit_and_the_next_one_is_parsed() -> None:
    ticks: list[int] = []
    with MarkupParser(seconds=1.0) as quick:
        assert quick.parse("Good.", no_tick) == GOOD
        begun = psutil.Process().cpu_times().user
        slow = quick.parse(SLOW, lambda: ticks.append(1))
        assert isinstance(slow, Rejected)
        assert (slow.reason, slow.damaged) == ("slow_wikitext", True)
        assert slow.detail == "not parsed in 1.0 s of the processor (200,000 characters)"
        assert psutil.Process().cpu_times().user - begun < 0.5, "it costs the one who asks nothing"
        assert quick.parse("Good.", no_tick) == GOOD
    assert ticks, "whoever waits is asked meanwhile"
    assert children() == []


def test_the_shorter_the_wikitext_the_less_time_it_may_take() -> None:
    assert seconds_for(64_000, 30.0) < 4.0 < seconds_for(2_000_000, 30.0) == 30.0


def test_wikitext_that_ends_the_parser_is_rejected_and_the_next_page_is_parsed(one: MarkupParser) -> None:
    nested = one.parse("{{" * 5_000 + "}}" * 5_000, no_tick)
    assert isinstance(nested, Rejected)
    assert (nested.reason, nested.damaged) == ("bad_wikitext", True)
    assert one.parse("Good.", no_tick) == GOOD


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
@pytest.mark.parametrize(
    ("wikitext", "reasons"),
    [
        ("{|\n|a\n|}\n" * 30_000, {"out_of_memory_wikitext"}),
        ("[[Port]] " * 100_000, {"out_of_memory_wikitext", "bad_wikitext"}),
    ],
    ids=["tables", "links"],
)
def test_wikitext_that_takes_too_much_memory_is_rejected_and_the_next_page_is_parsed(
    wikitext: str, reasons: set[str]
) -> None:
    with MarkupParser(memory=20_000_000) as small:
        small.parse("Good.", no_tick)
        (first,) = children()
        large = small.parse(wikitext, no_tick)
        assert isinstance(large, Rejected)
        assert large.reason in reasons
        assert large.damaged
        assert small.parse("Good.", no_tick) == GOOD
        assert children() != [first], "by a process with all of its memory"


def test_wikitext_twice_as_long_as_any_wiki_stores_is_left_out(
    one: MarkupParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "MAX_WIKITEXT", 10)
    assert one.parse("Good. Good. Good.", no_tick) == Rejected("too_large_wikitext", "17 characters")
    assert one.parse("Good.", no_tick) == GOOD


def test_a_parser_that_somebody_kills_costs_no_page(one: MarkupParser) -> None:
    one.parse("One.", no_tick)
    (child,) = children()
    child.kill()
    child.wait()
    assert one.parse("Good.", no_tick) == GOOD


def test_a_parser_that_stands_still_costs_no_page(one: MarkupParser, monkeypatch: pytest.MonkeyPatch) -> None:
    one.parse("One.", no_tick)
    (child,) = children()
    child.suspend()
    monkeypatch.setattr(parser, "CLOCK_FACTOR", 0.5)
    parsed = one.parse("Good. " * 20_000, no_tick)  # more than a pipe takes
    assert isinstance(parsed, Parsed)
    assert not child.is_running()


def test_a_machine_without_room_for_a_process_costs_no_page(one: MarkupParser, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    open_files = psutil.Process().num_fds()
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.Popen", full)
        with pytest.raises(TryAgain, match=f"cannot be started here and now: .*{os.strerror(errno.EAGAIN)}"):
            one.parse("Good.", no_tick)
    assert psutil.Process().num_fds() == open_files
    assert one.parse("Good.", no_tick) == GOOD


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        ("exec sleep 60", TryAgain, "said nothing for too long"),
        ("kill -KILL $$", TryAgain, "signal 9"),
        ("exit 1", Fatal, "does not start: pip install"),
    ],
)
def test_a_process_that_does_not_start_is_no_fault_of_the_page_and_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, error: type[CirrostreamError], said: str
) -> None:
    odd = tmp_path / "python"
    odd.write_text(f"#!/bin/sh\n{program}\n")
    odd.chmod(0o755)
    before = psutil.Process().children()
    with MarkupParser() as one:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(odd))
            patch.setattr(parser, "START_SECONDS", 0.1)
            with pytest.raises(error, match=said):
                one.parse("Good.", no_tick)
        assert psutil.Process().children() == before
        assert one.parse("Good.", no_tick) == GOOD


def test_the_ctrl_c_of_a_terminal_is_for_the_one_who_asks_alone() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", CTRL_C], capture_output=True, text=True, timeout=60, check=True, start_new_session=True
    )
    assert asked.stdout.split() == ["interrupted", "Good."]


def test_whoever_waits_may_leave_at_once_and_leaves_no_process() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    begun = time.monotonic()
    with pytest.raises(Stopped), MarkupParser(workers=2) as both:  # noqa: PT012 - the exception leaves the block
        both.parse("Good.", no_tick)
        both.parse(SLOW, stop)
    assert time.monotonic() - begun < 20
    assert children() == []


def test_the_processes_end_when_the_one_that_asks_is_killed_while_they_work() -> None:
    script = (
        "from producers.wikimedia.parser import MarkupParser\n"
        "with MarkupParser() as parser:\n"
        "    parser.parse('One.', lambda: None)\n"
        "    parser.parse('{{a|' * 50_000, lambda: print('waits', flush=True))\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    assert asking.stdout.readline() == "waits\n"
    (child,) = psutil.Process(asking.pid).children()
    os.kill(asking.pid, signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the process has ended")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows a process's environment")
def test_the_process_knows_no_secret(one: MarkupParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_SASL_PASSWORD", "secret-of-kafka")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-bucket")
    one.parse("One.", no_tick)
    (child,) = children()
    assert "secret-of" not in environment(child)


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("From &#xD800; to &#56319;.", "From \ufffd to \ufffd."),
        ("Smile &#xD83D;&#xDE00; and &#128512;.", "Smile 😀 and 😀."),
        ("A &#1;&#127;nul &#0; in <nowiki>&#xD83D;</nowiki>.", "A nul &#0; in \ufffd."),
        ("Sa\u0303o Bra\u0301s", "São Brás"),
        ("[[Port|&#xD83D;]]<ref>&#xDE00;</ref>", "\ufffd \ufffd"),
    ],
)
def test_what_entities_make_is_text_that_any_program_takes(one: MarkupParser, wikitext: str, text: str) -> None:
    parsed = one.parse(wikitext, no_tick)
    assert isinstance(parsed, Parsed)
    assert parsed.text == text


def test_headings_and_categories_are_clean_too(one: MarkupParser) -> None:
    parsed = one.parse("&#xD83D;\n== &#xD83D; ==\n[[Category:Sa\u0303o &#xD83D;]]", no_tick)
    assert isinstance(parsed, Parsed)
    assert (parsed.opening_text, parsed.headings) == ("\ufffd", ("\ufffd",))
    assert parsed.categories == ("São \ufffd",)


def test_pages_come_in_order_from_several_processes_and_are_taken_a_few_ahead() -> None:
    taken: list[int] = []
    redirect = Rejected("redirect")

    def pages() -> Iterator[tuple[int, str | Rejected]]:
        for number in range(40):
            taken.append(number)
            yield number, redirect if number % 10 == 3 else SLOW if number == 5 else f"Page {number}."

    with MarkupParser(workers=2, seconds=1.0) as both:
        given = []
        for number, parsed in both.parse_all(pages(), no_tick):
            assert len(taken) <= number + 2 + 2 * parser.AHEAD
            given.append((number, parsed.reason if isinstance(parsed, Rejected) else parsed.text))
        assert len(children()) == 2
    expected = [(number, "redirect" if number % 10 == 3 else f"Page {number}.") for number in range(40)]
    expected[5] = (5, "slow_wikitext")
    assert given == expected


def test_several_threads_may_ask_one_parser(one: MarkupParser) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = one.parse(f"Page {number}.", no_tick)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: Parsed(f"Page {number}.", f"Page {number}.") for number in range(8)}
    assert len(children()) == 1


def test_the_wikis_own_names_go_to_the_process() -> None:
    with MarkupParser(LinkNames.of([(6, "Datei"), (14, "Kategorie")])) as german:
        parsed = german.parse("Der Hafen.[[Datei:Kai|mini|Kai]][[Kategorie:Orte]] [[x", no_tick)
    assert parsed == Parsed("Der Hafen. x", "Der Hafen. x", ("Orte",), left=("link_left",))
