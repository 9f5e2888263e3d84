"""The common style of all figures: colours, axes, files."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dither._files import write_atomically
from dither._words import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#6b6b6b")
"""The colours of Okabe and Ito, which colour-blind readers can distinguish."""

BLUE, ORANGE, *_, GREY = PALETTE

STYLE: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "dither",
    "svg.fonttype": "none",
    "text.parse_math": False,  # user-given names may contain a dollar sign
}


NARROW = 3.0
"""The range of a logarithmic axis, as a factor, below which its ticks are evenly spaced."""


@contextmanager
def picture(width: float, height: float, **style: Any) -> Iterator["Figure"]:
    """A figure of a size in inches, in dither's style.

    It depends neither on the user's style nor on their Matplotlib backend.
    """
    with styled(style):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def styled(style: Any = None) -> AbstractContextManager[None]:
    """Matplotlib's default style with dither's on top."""
    try:
        import matplotlib.style
    except ValueError:  # MPLBACKEND is unknown to Matplotlib
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]
        named = os.environ.pop("MPLBACKEND", "")
        try:
            import matplotlib.style
        finally:
            os.environ["MPLBACKEND"] = named
    return matplotlib.style.context(["default", STYLE | (style or {})])


def band(axes: Any, x: Any, quartiles: Any, colour: str, **line: Any) -> None:
    """Draw a median line and a shaded interquartile range from the rows low, middle and high."""
    low, middle, high = quartiles
    named = "middle half" if "label" in line else None
    axes.fill_between(x, low, high, color=colour, alpha=0.22, linewidth=0, label=named)
    axes.plot(x, middle, color=colour, **line)


def logarithmic(axes: Any) -> None:
    """Make the vertical axis logarithmic with plain numbers."""
    axes.set_yscale("log")
    number_decades(axes)


def number_decades(axes: Any) -> None:
    """Put numbers on a logarithmic vertical axis, also for less than a decade."""
    _number_decades(axes.yaxis)


def _number_decades(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = sorted(axis.get_view_interval())
    axis.set_major_formatter(lambda value, _: short(value))
    if high < NARROW * low:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
        return
    fine = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5) if high < 300 * low else (1,)
    axis.set_major_locator(LogLocator(subs=fine))
    axis.set_minor_formatter(NullFormatter())


def _number_the_rest(figure: "Figure") -> None:
    """Replace Matplotlib's mathematical tick labels on the other logarithmic axes."""
    from matplotlib.ticker import LogFormatter

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log" and isinstance(axis.get_major_formatter(), LogFormatter):
                _number_decades(axis)


def figure_bytes(figure: "Figure", ending: str) -> bytes:
    """A figure in a file format, with reproducible bytes."""
    made = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    extra: dict[str, Any] = {"dpi": 200} if made is None else {"metadata": made}
    buffer = BytesIO()
    _number_the_rest(figure)
    with styled():
        figure.savefig(buffer, format=ending, **extra)
    return buffer.getvalue()


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG and SVG."""
    for ending in ("png", "svg"):
        write_atomically(path.with_suffix(f".{ending}"), figure_bytes(figure, ending))
