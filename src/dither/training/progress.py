"""The progress bar."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dither.training.train import Progress


class ProgressBar:
    """An observer that draws a bar with cost, score, measurements and time left, on stderr."""

    def __init__(self, name: str) -> None:
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=False,
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
        done = f"{now.measurements:,}".replace(",", " ")
        most = f" of {now.most:,}".replace(",", " ") if now.most else ""
        score = f"  {now.score_name} {now.score:.3f}" if now.score == now.score else ""
        finished = f"  {now.finished} of {now.replicas} done" if now.replicas > 1 else ""
        text = f"cost {now.cost:.4g}{score}  {done}{most} measurements{finished}"
        self.bar.update(self.task, completed=now.measurements, total=now.most, text=text)
