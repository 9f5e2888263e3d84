"""Progress on stderr: a bar in a terminal, an occasional line elsewhere."""

import sys
import time
from typing import Any, TypeVar

SECONDS_PER_LINE = 10.0

B = TypeVar("B", bound="AbstractBar")


class AbstractBar:
    """A progress display; concrete classes are observers that long computations call."""

    def __init__(self, name: str, text: str, *columns: Any, total: float | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.terminal = sys.stderr.isatty()
        self.begun = self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            *columns,
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            expand=True,
            console=Console(stderr=True),
            disable=not self.terminal,
        )
        self.task = self.bar.add_task(name, total=total, text=text)

    def __enter__(self: B) -> B:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, line: str, **task: Any) -> None:
        """Move the bar to `completed` of `total`, with a `text`; without a bar, print a line."""
        self.bar.update(self.task, **task)
        now = time.monotonic()
        if not self.terminal and now - self.last_line > SECONDS_PER_LINE:
            self.last_line = now
            self.say(f"{line}, {now - self.begun:.0f} s")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.terminal:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
