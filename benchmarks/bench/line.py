"""A line of the benchmark: contenders for the same work, and the work's cost per unit."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Round = Callable[[int], int]
"""Do approximately the given number of units of work, and return the number done."""

SECONDS = 0.4
"""Processor time that one round should take, in seconds."""


@dataclass(frozen=True)
class Line:
    """Contenders for one kind of work.

    Attributes: `unit`, the unit of work that is counted; `contenders`, the functions by name that
    set up and return a round, with dither first; `operations` and `bytes`, the minimum that one
    unit of work needs in single precision, or 0 if no limit is given; `rounds`, the number of
    rounds.
    """

    unit: str
    contenders: dict[str, Callable[[], Round]]
    operations: float = 0.0
    bytes: float = 0.0
    rounds: int = 5


@dataclass
class Measured:
    """Rates of one contender per round, in units per second of processor time and of wall time."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Return the median rate in units per second of processor time."""
        return statistics.median(self.cpu)


def race(line: Line) -> tuple[dict[str, Measured], list[str]]:
    """Measure all contenders, which take turns in every round.

    Returns: the rates by contender, and the contenders that could not run with the reason.
    """
    ready: dict[str, tuple[Round, int]] = {}
    absent: list[str] = []
    for name, prepare in line.contenders.items():
        try:
            go = prepare()
            ready[name] = go, _size(go)
        except ImportError as error:
            absent.append(f"{name}: {error.name} is not installed")
    measured = {name: Measured() for name in ready}
    for _ in range(line.rounds):
        for name, (go, size) in ready.items():
            cpu, wall = time.process_time(), time.perf_counter()
            done = go(size)
            measured[name].cpu.append(done / (time.process_time() - cpu))
            measured[name].wall.append(done / (time.perf_counter() - wall))
    return measured, absent


def _size(go: Round) -> int:
    """Return the number of units that take about `SECONDS`.

    Compilation, which happens in the first round of a given size, is excluded.
    """
    size = 16
    while True:
        go(size)
        begun = time.process_time()
        go(size)
        took = time.process_time() - begun
        if took > SECONDS / 8:
            return max(1, round(size * SECONDS / took))
        size *= 4
