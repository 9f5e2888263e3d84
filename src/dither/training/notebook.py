"""A run's progress in a notebook: a bar and the curves so far."""

import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any

from dither.training.drawing import picture
from dither.training.figure import SIZE, draw_cost, draw_score
from dither.training.html import image
from dither.training.progress import told
from dither.training.run import Progress

if TYPE_CHECKING:
    from dither.training.result import Result

EVERY = 0.5
"""Seconds between two displays, at least."""

SHARE = 0.05
"""The most of a run's time that goes into displaying it."""


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this program; without importing IPython for it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class NotebookProgress:
    """An observer that shows a run below the notebook's cell; what goes wrong there is its own."""

    def __init__(self, name: str, aim: float | None) -> None:
        self.name, self.aim = name, aim
        self.handle: Any = None
        self.next = time.monotonic() + EVERY
        self.broken = False

    def __call__(self, now: Progress) -> None:
        if (began := time.monotonic()) < self.next or self.broken:
            return
        share = None if not now.most else now.measurements / now.most
        self._display(told(now), share, now)
        took = time.monotonic() - began
        self.next = began + max(EVERY, took / SHARE)

    def end(self, result: "Result") -> None:
        """Say how it ended, in place of what has been shown; nothing where nothing has been."""
        if self.handle is not None:
            why = str(result.stop_reason).replace("_", " ")
            self._display(f"stopped by: {why}", 1.0, None)

    def _display(self, text: str, share: float | None, now: Progress | None) -> None:
        try:
            from IPython.display import display

            shown = {"text/html": self._html(text, share, now), "text/plain": text}
            if self.handle is None:
                show: Any = display
                self.handle = show(shown, raw=True, display_id=True)
            else:
                self.handle.update(shown, raw=True)
        except Exception:  # whatever a front end or Matplotlib raises: the run is worth more
            self.broken = True

    def _html(self, text: str, share: float | None, now: Progress | None) -> str:
        at = "" if share is None else f" value='{share:.4f}'"
        bar = f"<progress max='1'{at} style='width:40%'></progress>"
        head = f"<div><b>{escape(self.name)}</b> {bar} {escape(text)}</div>"
        return head if now is None else head + self._curves(now)

    def _curves(self, now: Progress) -> str:
        history = now.history.frame(now.history.rows)
        if len(history) < 2:
            return ""
        with picture(*SIZE) as figure:
            left, right = figure.subplots(1, 2, sharex=True)
            draw_cost(left, history)
            scored = history["score"].notna().any()
            draw_score(right, history, now.score_name if scored else None, self.aim)
        return image(figure, f"Cost and score of {self.name} so far")
