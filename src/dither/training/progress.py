"""The progress of a run on a terminal."""

from collections.abc import Callable

from dither._bar import AbstractBar
from dither._words import count, rounded
from dither.training.run import Progress


class ProgressBar(AbstractBar):
    """An observer that prints score or cost, measurements, time left and failures on stderr.

    Arguments: the run's `name`; `end`, the measurements expected until the target, None if unknown.
    """

    def __init__(self, name: str, end: Callable[[Progress], float | None] = lambda _: None) -> None:
        super().__init__(name, "compiling")
        self.name, self.failing, self.end = name, False, end

    def __call__(self, now: Progress) -> None:
        end = self.end(now)
        text = told(now, end)
        if bool(now.failing) != self.failing:
            self.failing = not self.failing
            again = f"the device fails ({now.failing}); retrying"
            self.say(f"{self.name}: {again if self.failing else 'the device answers again'}")
        total = min((n for n in (end, now.most) if n is not None), default=None)
        self.show(f"{self.name}: {text}", completed=now.measurements, total=total, text=text)


def told(now: Progress, end: float | None = None) -> str:
    """The progress of a run in one line."""
    what = f"cost {now.cost:.4g}  " if now.cost == now.cost else ""
    if now.score == now.score:
        what = f"{now.score_name} {now.score:.3f}  "
    most = f" of {count(now.most)}" if now.most else ""
    score = "" if end is None else f", about {count(rounded(end, 2))} to the target"
    finished = f"  {now.finished} of {now.replicas} done" if now.replicas > 1 else ""
    return f"{what}{count(now.measurements)}{most} measurements{score}{finished}"
