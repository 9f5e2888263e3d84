"""A run's progress for people."""

from dither._bar import AbstractBar
from dither._words import count
from dither.training.run import Progress


class ProgressBar(AbstractBar):
    """An observer that shows score or cost, measurements and time left, and failures, on stderr."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "compiling")
        self.name, self.failing = name, False

    def __call__(self, now: Progress) -> None:
        text = told(now)
        if bool(now.failing) != self.failing:
            self.failing = not self.failing
            again = f"the device fails ({now.failing}); it is tried again"
            self.say(f"{self.name}: {again if self.failing else 'the device answers again'}")
        self.show(f"{self.name}: {text}", completed=now.measurements, total=now.most, text=text)


def told(now: Progress) -> str:
    """Where a run is, in a line."""
    what = f"cost {now.cost:.4g}  " if now.cost == now.cost else ""
    if now.score == now.score:
        what = f"{now.score_name} {now.score:.3f}  "
    most = f" of {count(now.most)}" if now.most else ""
    finished = f"  {now.finished} of {now.replicas} done" if now.replicas > 1 else ""
    return f"{what}{count(now.measurements)}{most} measurements{finished}"
