"""Progress for people: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dither.training.run import Progress

SECONDS_PER_LINE = 10.0


class ProgressBar:
    """An observer that shows cost, score, measurements and time left, on stderr."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()
        self.last_line = time.monotonic()
        self.failing = False
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            disable=not self.terminal,
        )
        self.task = self.bar.add_task(name, total=None, text="compiling")

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, now: Progress) -> None:
        text = _text(now)
        if bool(now.failing) != self.failing:
            self.failing = not self.failing
            again = f"the device fails ({now.failing}); it is tried again"
            self._line(again if self.failing else "the device answers again")
        self.bar.update(self.task, completed=now.measurements, total=now.most, text=text)
        if not self.terminal and time.monotonic() - self.last_line > SECONDS_PER_LINE:
            self.last_line = time.monotonic()
            self._line(f"{text}, {now.wall_seconds:.0f} s")

    def _line(self, text: str) -> None:
        if self.terminal:
            self.bar.console.print(f"{self.name}: {text}", markup=False, highlight=False)
        else:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)


def _text(now: Progress) -> str:
    most = f" of {now.most:,}" if now.most else ""
    score = f"  {now.score_name} {now.score:.3f}" if now.score == now.score else ""
    finished = f"  {now.finished} of {now.replicas} done" if now.replicas > 1 else ""
    counts = f"{now.measurements:,}{most} measurements".replace(",", " ")
    return f"cost {now.cost:.4g}{score}  {counts}{finished}"
