"""Progress reaches only as far as Kafka has acknowledged without a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from producers.run.delivery import InFlight

START = 0


class Stands(NamedTuple):
    """Where a record stands."""

    partition: int
    offset: int


@dataclass
class HeldDelivery:
    """Done when the test says so, or when somebody waits for it."""

    done: bool = False
    waited: bool = False
    records: tuple[Stands, ...] = ()

    def wait(self, timeout_s: float = 0) -> None:
        self.waited = self.done = True


def at(line: int) -> int:
    return line


def test_a_later_acknowledgement_does_not_pass_an_earlier_page() -> None:
    flight, first, second = InFlight(START), HeldDelivery(), HeldDelivery()
    flight.sent(first, 1)
    flight.mark(at(2))
    flight.sent(second, 1)
    flight.mark(at(4))
    second.done = True
    assert flight.acknowledged().place == START
    first.done = True
    assert flight.acknowledged().place == at(4)


def test_entries_that_send_nothing_are_reached_with_those_before_them() -> None:
    flight, only = InFlight(START), HeldDelivery()
    flight.mark(at(2))
    assert flight.acknowledged().place == at(2)
    flight.sent(only, 1)
    flight.mark(at(4))
    flight.mark(at(6))
    assert flight.acknowledged().place == at(2)
    assert flight.wait(1.0).place == at(6)
    assert only.waited


def test_what_one_slow_partition_holds_back_is_bounded() -> None:
    flight, slow = InFlight(START, max_bytes=100), HeldDelivery()
    flight.sent(slow, 60)
    flight.sent(HeldDelivery(done=True), 40)
    assert not slow.waited
    flight.sent(HeldDelivery(done=True), 1)
    assert slow.waited


def test_a_checkpoint_says_behind_which_records_it_lies() -> None:
    in_flight = InFlight(0, {0: 5, 1: 5})
    in_flight.sent(HeldDelivery(done=True, records=(Stands(0, 7),)), 1)
    in_flight.mark(1)
    later = HeldDelivery(done=False, records=(Stands(1, 9),))
    in_flight.sent(later, 1)
    in_flight.mark(2)
    assert in_flight.acknowledged().ends == {0: 8, 1: 5}
    later.done = True
    assert in_flight.acknowledged().ends == {0: 8, 1: 10}
