"""Records that end, hang or break the process which works on them, in any stage; the product knows nothing of it.

A `Trap` stands before one function of one module: a call whose arguments hold its mark (a word in a page's title or
text, say) springs it. `armed` writes a `sitecustomize.py`, which Python loads before anything else, and gives the
environment that makes a process load it; children of that process load it as well, because `PYTHONPATH` reaches them.

    traps = [Trap("consumers.chunking:Chunker.chunk_all", "Killer", "exit")]
    subprocess.Popen([sys.executable, "-m", "consumers.chunk"], env=armed(tmp_path / "traps", traps, environment))

The function must be looked up when it is called (a method is, or `module.function`), and must not be one of the module
that is run as `__main__`. The mark is searched in `repr` of the arguments: ASCII letters, in something that shows
itself whole (records and bytes do; arrays and tables do not).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tests import ROOT

Act = Literal["exit", "kill", "segfault", "abort", "hang", "freeze", "raise"]


@dataclass(frozen=True)
class Trap:
    """What happens at `module:Class.method`, or `module:function`, when its arguments hold `mark`.

    `exit`: the process ends with code 3, `kill`: by SIGKILL, `segfault`: by reading at 0, `abort`: by SIGABRT, as Rust
    ends it. `hang`: the call never returns; `freeze`: nor does any other thread of Python's get its turn. `raise`: a
    KeyError. Only the first `times` calls spring it, over all processes; None: every one.
    """

    where: str
    mark: str
    act: Act
    times: int | None = None


def armed(folder: Path, traps: Sequence[Trap], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process, and of its children, that steps into these traps."""
    folder.mkdir(parents=True, exist_ok=True)
    given = json.dumps([asdict(trap) for trap in traps])
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\n"
        f"from tests.faults import killers\nkillers.arm({given!r}, {str(folder)!r})\n"
    )
    path = [str(folder), str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def sprung(folder: Path) -> int:
    """How often traps of this folder were sprung."""
    return sum(file.stat().st_size for file in folder.glob("*.sprung"))


def arm(traps: str, folder: str) -> None:
    """Sets the traps in this process, each when its module is imported."""
    sys.meta_path.insert(0, _Finder([Trap(**trap) for trap in json.loads(traps)], Path(folder)))


class _Finder:
    """Finds the modules with a trap as Python does, and changes them when they have been loaded."""

    def __init__(self, traps: Iterable[Trap], folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, list[Trap]] = {}
        for trap in traps:
            self._waiting.setdefault(trap.where.partition(":")[0], []).append(trap)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        traps = self._waiting.pop(name, None)
        spec = importlib.util.find_spec(name) if traps else None
        if traps is None or spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_set(module: ModuleType) -> None:
            load(module)
            for number, trap in enumerate(traps):
                self._set(module, trap, self._folder / f"{name}-{number}.sprung")

        spec.loader.exec_module = load_and_set  # type: ignore[method-assign]
        return spec

    def _set(self, module: ModuleType, trap: Trap, record: Path) -> None:
        owner: Any = module
        *parents, name = trap.where.partition(":")[2].split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _trapped(getattr(owner, name), trap, record))


def _trapped(original: Callable[..., Any], trap: Trap, record: Path) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if trap.mark in repr((args, kwargs)) and _has_charge(trap, record):
            with record.open("ab") as file:
                file.write(b".")
            _spring(trap.act)
        return original(*args, **kwargs)

    return call


def _has_charge(trap: Trap, record: Path) -> bool:
    return trap.times is None or not record.exists() or record.stat().st_size < trap.times


def _spring(act: Act) -> None:
    match act:
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "hang":
            time.sleep(3600)
        case "freeze":
            ctypes.PyDLL(None).pause()
        case "raise":
            raise KeyError("a trap")
