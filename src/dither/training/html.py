"""The HTML form of a result, for notebooks."""

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from dither._words import duration, number
from dither.training.drawing import figure_bytes
from dither.training.figure import run_figure
from dither.training.ledger import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dither.training.result import Result


def result_html(result: "Result") -> str:
    """A summary of a result: its numbers and, if there is one, its learning curve."""
    many = len(result.replicas)
    facts = [] if result.score is None else [
        (result.score_name, number(result.score) + (f", the median of {many}" if many > 1 else ""))
    ]  # fmt: skip
    facts.append(("stopped by", f"{str(result.stop_reason).replace('_', ' ')}"))
    if many > 1 and result.aim is not None:
        reached = sum(one.reached for one in result.replicas)
        facts.append((f"reached {result.aim:g}", f"{reached} of {many}"))
    if result.learning_rate is not None:
        facts.append(("last learning rate", number(result.learning_rate)))
    whose = " of the longest replica" if many > 1 else ""
    for what, how_much, unit in in_words(result.ledger):
        if how_much != "0" and what != "samples":
            facts.append((what + whose * (what == "measurements"), f"{how_much} {unit}".strip()))
    if len(result.history):
        facts.append(("wall time", duration(float(result.history["wall_seconds"].max()))))
    if result.start_from is not None:
        facts.append(("started from", f"{result.start_from}, whose ledger is not included"))
    if result.out is not None:
        facts.append(("folder", str(result.out)))
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(term)}</th>"
        f"<td style='text-align:left'>{escape(said)}</td></tr>"
        for term, said in facts
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in (*result.warnings, result.failure) if note)
    name = escape(result.name)
    drawn = ""
    if len(result.history):
        figure = run_figure(result, result.name, result.aim)
        drawn = image(figure, f"Cost and score of {result.name} against measurements")
    return f"<div><b>{name}</b><table>{rows}</table>{notes}{drawn}</div>"


def image(figure: "Figure", seen: str) -> str:
    """A figure as self-contained HTML. `seen`: the alternative text."""
    data = b64encode(figure_bytes(figure, "png")).decode()
    width = f"{figure.get_figwidth():g}in"
    return (
        f"<img alt='{escape(seen)}' style='width:{width};max-width:100%' "
        f"src='data:image/png;base64,{data}'>"
    )
