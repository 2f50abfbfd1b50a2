"""Runs rows of token ids through the model whatever the device's memory does, and finds the row that fails.

Three kinds of trouble are told apart (`consumers.devices.trouble`). A pass that lacks memory is cut into
smaller ones. One that fails for another reason is halved until the row that fails stands alone. A broken device ends
the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.devices import DeviceBroke, MemoryTaken, Trouble, memory_of_others, release_memory, trouble
from consumers.encoder import Encoder
from consumers.packing import ElasticBudget, Ids, pack
from consumers.stats import DeviceBatch, Stats
from pipeline.errors import Fatal, is_fault, one_line
from pipeline.rejected import Rejected

WAITS = (1, 2, 4, 8, 15)
"""Seconds between the tries of a row that does not fit alone: a neighbour on the same device often wants its memory
for a moment only."""

Vectors = NDArray[np.float32]
Pause = Callable[[float], None]


OUT_OF_MEMORY = "out_of_memory"
MODEL_FAILED = "model_failed"


@dataclass
class Passes:
    """The passes of one batch: `rows` by number, in groups; made for one call of `run`.

    `between` is called before each pass, and while one waits for memory; it may give up by raising.
    """

    encoder: Encoder
    budget: ElasticBudget
    stats: Stats
    rows: list[Ids]
    lengths: Ids
    between: Callable[[], None]
    pause: Pause = time.sleep

    def run(self, groups: list[Ids], dimension: int) -> tuple[Vectors, dict[int, Rejected]]:
        """Vectors of shape (len(rows), dimension), and the reasons of those rows that have none (their vectors are 0).

        The device gets one group after the other without waiting; results are fetched at the end, or when memory is
        short.

        Raises:
            DeviceBroke: every further pass would fail.
            MemoryTaken: rows that should fit did not for longer than all `WAITS`.
            Fatal: the model fails on everything.
        """
        vectors = np.zeros((len(self.rows), dimension), dtype=np.float32)
        rejected: dict[int, Rejected] = {}
        done: list[tuple[Ids, torch.Tensor]] = []
        groups = groups[::-1]
        while groups:
            self.between()
            group = groups.pop()
            made = self._attempt(group)
            if _lacks_memory(made):
                self._fetch(done, vectors)  # what is computed takes part of the memory that is short
                self._shrink(self.lengths[group])
                if len(group) > 1:
                    groups = self._packed_anew([group, *groups[::-1]])
                    continue
                made = self._waited_for(group)
            if not isinstance(made, Rejected):
                done.append((group, made))
            elif len(group) > 1:
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
            else:
                rejected[int(group[0])] = self._checked(made)
        self._fetch(done, vectors)
        return vectors, rejected

    def _attempt(self, group: Ids) -> torch.Tensor | Rejected:
        made = self._encode([self.rows[row] for row in group])
        if not isinstance(made, Rejected):
            lengths = self.lengths[group]
            self.stats.device_batches.append(DeviceBatch(int(lengths.sum()), int(lengths.max()) * len(lengths)))
            self.budget.succeeded(int(lengths.max()))
        return made

    def _encode(self, rows: list[Ids]) -> torch.Tensor | Rejected:
        device = self.encoder.device
        try:
            return self.encoder.encode(rows)
        except BaseException as error:
            if not is_fault(error):
                raise
            kind = trouble(error, device)
            if kind is Trouble.DEVICE:
                raise DeviceBroke(f"the device {device} broke: {one_line(error)}") from error
            # Text only: the error itself would keep in memory all that was computed.
            return Rejected(OUT_OF_MEMORY if kind is Trouble.MEMORY else MODEL_FAILED, one_line(error))

    def _packed_anew(self, groups: list[Ids]) -> list[Ids]:
        rest = np.concatenate(groups)
        return [rest[part] for part in pack(self.lengths[rest], self.budget.now)][::-1]

    def _waited_for(self, group: Ids) -> torch.Tensor | Rejected:
        """One row again and again, while nothing else of ours is on the device.

        It is at fault only when a short text fits at the end, and no text as long as it ever did.
        """
        length = int(self.lengths[group].max())
        made: torch.Tensor | Rejected = Rejected(OUT_OF_MEMORY)
        for seconds in WAITS:
            self._rest(seconds)
            made = self._attempt(group)
            if not _lacks_memory(made):
                return made
            release_memory(self.encoder.device)
        others = memory_of_others(self.encoder.device)
        if length <= self.budget.longest or others or isinstance(self._encode([self._simplest()]), Rejected):
            raise MemoryTaken(
                f"the device {self.encoder.device} has had no memory for one text of {length} tokens for {sum(WAITS)} s"
                + (f"; other processes hold {others / 1e9:.1f} GB of it" if others else "")
                + ": end what else computes there, or give this replica another device"
            )
        return made

    def _rest(self, seconds: int) -> None:
        for _ in range(seconds):
            self.between()
            self.pause(1.0)

    def _simplest(self) -> Ids:
        return self.encoder.framed(np.asarray([self.encoder.vocabulary // 2]))

    def _checked(self, rejected: Rejected) -> Rejected:
        """The same. Raises Fatal when the simplest text fails as well: no record is to blame then."""
        if rejected.reason == MODEL_FAILED:
            simplest = self._encode([self._simplest()])
            if isinstance(simplest, Rejected) and simplest.reason == MODEL_FAILED:
                raise Fatal(f"the model fails on every text: {simplest.detail}; its files or a library are damaged")
        return rejected

    def _fetch(self, done: list[tuple[Ids, torch.Tensor]], vectors: Vectors) -> None:
        """Moves what is computed to the host, one group after the other: to join them would take the memory twice."""
        waits = list(WAITS)
        while done:
            group, made = done[-1]
            try:
                vectors[group] = made.cpu().numpy()
            except BaseException as error:
                if not is_fault(error):
                    raise
                if trouble(error, self.encoder.device) is not Trouble.MEMORY:
                    raise DeviceBroke(f"the device {self.encoder.device} broke: {one_line(error)}") from error
                if not waits:
                    raise MemoryTaken(f"this machine has no memory for vectors: {one_line(error)}") from error
                self._rest(waits.pop(0))
                continue
            done.pop()

    def _shrink(self, lengths: Ids) -> None:
        self.stats.out_of_memory += 1
        self.budget.shrink(int(lengths.max()) * len(lengths), len(lengths))
        release_memory(self.encoder.device)


def _lacks_memory(made: torch.Tensor | Rejected) -> bool:
    return isinstance(made, Rejected) and made.reason == OUT_OF_MEMORY
