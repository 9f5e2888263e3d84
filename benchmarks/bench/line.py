"""A line of the benchmark: contenders for the same work, and what the machine allows."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Round = Callable[[int], int]
"""Does about so many units of the work, and says how many."""

SECONDS = 0.4
"""Of processor time that one round should take."""


@dataclass(frozen=True)
class Line:
    """Contenders for one kind of work.

    Attributes: `contenders`, by name, each a function that sets up and returns its round; the first
    is dither. `operations` and `bytes`, what one unit of the work needs at the least, in single
    precision; 0 where no limit is given. `unit`, what is counted.
    """

    unit: str
    contenders: dict[str, Callable[[], Round]]
    operations: float = 0.0
    bytes: float = 0.0
    rounds: int = 5


@dataclass
class Measured:
    """Rates of one contender: units per second of processor time and of wall time, per round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Units per second of processor time."""
        return statistics.median(self.cpu)


def race(line: Line) -> tuple[dict[str, Measured], list[str]]:
    """Every contender's rates, round by round in turn, and who could not take part."""
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
    """How many units take about `SECONDS`, without what a first round of a size compiles."""
    size = 16
    while True:
        go(size)
        begun = time.process_time()
        go(size)
        took = time.process_time() - begun
        if took > SECONDS / 8:
            return max(1, round(size * SECONDS / took))
        size *= 4
