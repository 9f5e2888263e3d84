"""The progress of a run in a notebook: a bar and the curves so far."""

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
"""The shortest time between two displays, s."""

SHARE = 0.05
"""The largest share of a run's time that is spent on the display."""


def in_notebook() -> bool:
    """Whether this program runs in a notebook kernel, determined without importing IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class NotebookProgress:
    """An observer that shows a run below the notebook cell; its errors do not stop the run."""

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
        """Replace the display, if there is one, by the reason for the end."""
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
        except Exception:  # any error of the front end or Matplotlib: the run must not be lost
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
