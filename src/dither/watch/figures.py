"""The pages as Bokeh models, made once and then updated."""

from abc import ABC, abstractmethod
from html import escape
from typing import Any

import numpy as np
from bokeh.models import (
    Column,
    ColumnDataSource,
    Div,
    HoverTool,
    NumeralTickFormatter,
    PrintfTickFormatter,
    Range1d,
    Row,
)
from bokeh.plotting import figure
from bokeh.transform import linear_cmap

from dither._words import text_of
from dither.training.drawing import BLUE, GREY, ORANGE, PALETTE
from dither.watch.run import RunCurve, RunView
from dither.watch.study import Done, Medians, StudyView
from dither.watch.style import PLOT, SHARES, TEXT
from dither.watch.view import Head, TextTable


class AbstractPart(ABC):
    """A part of a page: a Bokeh model and its update."""

    model: Any

    @abstractmethod
    def feed(self, view: Any) -> None:
        """Update the model."""


class LivePage:
    """The page of a run or a study in one session; `layout` is its only root."""

    def __init__(self, view: RunView | StudyView) -> None:
        self.head = HeadPart()
        self.plots: list[AbstractPart] = []
        self.tables: list[TablePart] = []
        self.shape: tuple[Any, ...] = ()
        self.layout = Column(
            name="page", children=[self.head.model], sizing_mode="stretch_width",
            stylesheets=[PLOT],
        )  # fmt: skip
        self.show(view)

    def show(self, view: RunView | StudyView) -> None:
        """Update what has changed; rebuild the layout only if its structure changes."""
        if self.shape != (now := shape(view)):
            self._build(view)
            self.shape = now
        self.head.feed(view.head)
        for part, what in zip(self.plots, pictures(view)):
            part.feed(what)
        for table, rows in zip(self.tables, view.tables):
            table.feed(rows)

    def _build(self, view: RunView | StudyView) -> None:
        self.plots = [part_for(what) for what in pictures(view)]
        self.tables = [TablePart() for _ in view.tables]
        self.layout.children = [
            self.head.model,
            *(
                Row(children=[part.model for part in parts], sizing_mode="stretch_width",
                    styles={"flex-wrap": "wrap", "gap": "12px 24px"})
                for parts in (self.plots, self.tables)
            ),
        ]  # fmt: skip


def pictures(view: RunView | StudyView) -> list[Any]:
    """The figures of the view."""
    if isinstance(view, RunView):
        return list(view.curves)
    return [view.done, *([] if view.medians is None else [view.medians])]


def shape(view: RunView | StudyView) -> tuple[Any, ...]:
    """The structure of a page, without its numbers."""
    drawn = [
        (what.quantity, what.log, len(what.each)) if isinstance(what, RunCurve)
        else (type(what), getattr(what, "quantity", ""))
        for what in pictures(view)
    ]  # fmt: skip
    return (*drawn, *(table.title for table in view.tables))


def part_for(what: Any) -> AbstractPart:
    """The part that draws an element."""
    if isinstance(what, RunCurve):
        return CurvePart(what)
    return DonePart(what) if isinstance(what, Done) else MediansPart(what)


# ------------------------------------------------------------------------------------------ text


class HeadPart(AbstractPart):
    """The name, the state and the numbers."""

    def __init__(self) -> None:
        self.model = _text()

    def feed(self, head: Head) -> None:
        """Update the model."""
        tiles = "".join(
            f"<div class=tile><span>{escape(tile.label)}</span><b>{escape(tile.value)}</b>"
            f"<i>{escape(tile.detail)}</i></div>"
            for tile in head.tiles
        )
        share = "" if head.share is None else (
            f"<div class=bar role=progressbar aria-valuenow={100 * head.share:.0f}>"
            f"<div style='width:{100 * head.share:.2f}%'></div></div>"
        )  # fmt: skip
        self.model.text = (
            f"<h1>{escape(head.name)} <small class={head.mood}>{escape(head.state)}</small></h1>"
            f"<p>{escape(head.folder)}</p>{share}<div class=tiles>{tiles}</div>"
        )


class TablePart(AbstractPart):
    """Rows of text."""

    def __init__(self) -> None:
        self.model = _text({"flex": "1 1 300px", "min-width": "0"})

    def feed(self, table: TextTable) -> None:
        """Update the model."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in table.headings)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table.rows
        )
        shown = f"<table><tr>{head}</tr>{rows}</table>" if rows else "<p>nothing</p>"
        self.model.text = f"<h2>{escape(table.title)}</h2><div class=scroll>{shown}</div>"


def _text(styles: dict[str, str] | None = None) -> Any:
    return Div(
        text="", sizing_mode="stretch_width", stylesheets=[TEXT], styles=styles or {}
    )  # fmt: skip


# --------------------------------------------------------------------------------------- figures


def _figure(**settings: Any) -> Any:
    made = figure(
        height=320, sizing_mode="stretch_width", toolbar_location=None, tools="",
        background_fill_color=None, border_fill_color=None, outline_line_color=None,
        stylesheets=[PLOT], styles={"flex": "1 1 420px", "min-width": "0"}, **settings,
    )  # fmt: skip
    made.axis.axis_line_color = made.axis.major_tick_line_color = GREY
    made.axis.minor_tick_line_color = None
    made.axis.major_label_text_color = made.axis.axis_label_text_color = TEXT_COLOUR
    made.axis.axis_label_text_font_style = "normal"
    made.axis.major_label_text_font_size = "12px"
    made.axis.axis_label_text_font_size = "13px"
    made.title.text_color = TEXT_COLOUR
    made.title.text_font_size = "14px"
    made.grid.grid_line_color = GREY
    made.grid.grid_line_alpha = 0.2
    return made


TEXT_COLOUR = "#222222"


def _legend(made: Any) -> None:
    legend = made.legend[0]
    legend.background_fill_alpha = 0.0
    legend.border_line_color = None
    legend.label_text_color = TEXT_COLOUR
    legend.label_text_font_size = "12px"
    legend.padding = legend.margin = 2
    legend.spacing = 14
    legend.orientation = "horizontal"
    legend.ncols = 3
    made.add_layout(legend, "above")


class CurvePart(AbstractPart):
    """A curve against measurements: thin replicas, shaded quartiles, a thick median."""

    def __init__(self, curve: RunCurve) -> None:
        colour = ORANGE if curve.quantity.startswith("cost") else BLUE
        self.median = ColumnDataSource({"x": [], "low": [], "middle": [], "high": []})
        self.median.name = curve.quantity
        self.each = ColumnDataSource({"xs": [], "ys": []})
        self.model = made = _figure(
            y_axis_type="log" if curve.log else "linear",
            x_axis_label="measurements of one device", y_axis_label=curve.quantity,
        )  # fmt: skip
        made.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
        made.yaxis.formatter = PrintfTickFormatter(format="%.3g")
        made.xaxis.ticker.desired_num_ticks = 5
        many = bool(curve.each)
        if many:
            made.multi_line("xs", "ys", source=self.each, color=colour, alpha=0.2, line_width=0.8)
            made.varea("x", "low", "high", source=self.median, color=colour, alpha=0.2,
                       legend_label="middle half")  # fmt: skip
        label = "median of replicas" if many else "the device"
        line = made.line("x", "middle", source=self.median, color=colour, line_width=2.2,
                         legend_label=label)  # fmt: skip
        made.scatter("x", "middle", source=self.median, color=colour, size=3)
        tips = [("measurements", "@x{0,0}"), (curve.quantity, "@middle{0.0000}")]
        made.add_tools(HoverTool(renderers=[line], mode="vline", tooltips=tips))
        self.aim = None if curve.aim is None or (curve.log and curve.aim <= 0) else curve.aim
        self.aimed = ColumnDataSource({"x": [], "y": []})
        if self.aim is not None:
            made.line("x", "y", source=self.aimed, line_dash="dashed", color=GREY,
                      legend_label=f"aim {self.aim:g}")  # fmt: skip
        if curve.limits is not None:
            made.y_range = Range1d(*curve.limits)
        _legend(made)

    def feed(self, curve: RunCurve) -> None:
        """Update the model; only new points are sent."""
        known = np.asarray(self.median.data["x"], float)
        n = len(known)
        columns = {"x": curve.x, "low": curve.low, "middle": curve.middle, "high": curve.high}
        if n == len(curve.x) and np.array_equal(known, curve.x):
            return
        if 0 < n < len(curve.x) and np.array_equal(known, curve.x[:n]):
            self.median.stream({name: values[n:] for name, values in columns.items()})
        else:
            self.median.data = columns
        if curve.each:
            self.each.data = {"xs": [curve.x] * len(curve.each), "ys": list(curve.each)}
        self.aimed.data = {"x": [curve.x[0], curve.x[-1]], "y": [self.aim, self.aim]}


class DonePart(AbstractPart):
    """The share of finished runs: a heat map over two axes, bars over one."""

    def __init__(self, done: Done) -> None:
        self.source = ColumnDataSource(name="done")
        plain = not done.y
        self.model = made = _figure(
            title="Share of finished runs",
            x_range=list(done.x_labels), x_axis_label=done.x,
            y_range=Range1d(0, 1) if plain else list(reversed(done.y_labels)),
            y_axis_label="share done" if plain else done.y,
        )  # fmt: skip
        made.grid.grid_line_color = None
        colour = linear_cmap("share", SHARES, 0, 1)
        if plain:
            drawn = made.vbar("x", top="share", width=0.9, source=self.source, color=colour)
        else:
            drawn = made.rect("x", "y", 0.96, 0.94, source=self.source, line_color=None,
                              fill_color=colour)  # fmt: skip
            bar = drawn.construct_color_bar(
                width=10, background_fill_alpha=0, major_label_text_color=TEXT_COLOUR,
                formatter=NumeralTickFormatter(format="0 %"),
            )  # fmt: skip
            made.add_layout(bar, "right")
        if len(done.x_labels) <= 12 and len(done.y_labels) <= 16:
            made.text("x", "share" if plain else "y", text="text", source=self.source,
                      text_align="center", text_font_size="12px",
                      text_baseline="top" if plain else "middle",
                      y_offset=2 if plain else 0, text_color="ink")  # fmt: skip
        if max(map(len, done.x_labels)) * len(done.x_labels) > 50:
            made.xaxis.major_label_orientation = 0.8
        made.add_tools(
            HoverTool(renderers=[drawn], tooltips=[("at", "@x @y"), ("runs done", "@text")])
        )

    def feed(self, done: Done) -> None:
        """Update the model."""
        share = (done.done / np.maximum(done.planned, 1)).ravel()
        data = {
            "x": list(done.x_labels) * len(done.y_labels),
            "y": [label for label in done.y_labels for _ in done.x_labels],
            "share": share.tolist(),
            "text": [f"{a}/{b}" for a, b in zip(done.done.flat, done.planned.flat)],
            "ink": ["#ffffff" if value > 0.55 else TEXT_COLOUR for value in share],
        }
        if self.source.data.get("text") != data["text"]:
            self.source.data = data


class MediansPart(AbstractPart):
    """The results of the runs against the first axis."""

    def __init__(self, medians: Medians) -> None:
        numbers = all(isinstance(place, int | float) for place in medians.places)
        self.places = [p if numbers else text_of(p) for p in medians.places]
        positive = [float(p) for p in medians.places if numbers and float(p) > 0]
        wide = len(positive) == len(medians.places) and max(positive) >= 8 * min(positive)
        self.model = made = _figure(
            title="Medians of the finished runs",
            x_axis_type="log" if wide else "auto" if not numbers else "linear",
            y_axis_type="log" if medians.log else "linear",
            x_axis_label=medians.x, y_axis_label=medians.quantity,
            **({} if numbers else {"x_range": list(dict.fromkeys(self.places))}),
        )  # fmt: skip
        if numbers:
            made.xaxis.ticker = sorted(set(self.places))
            made.xaxis.formatter = NumeralTickFormatter(format="0.[0000]a")
        made.yaxis.formatter = NumeralTickFormatter(format="0.[000]a")
        self.sources = []
        for k, label in enumerate(medians.labels):
            source = ColumnDataSource({"x": [], "y": []})
            what = {"legend_label": label} if medians.by else {}
            colour = PALETTE[k % len(PALETTE)]
            made.line("x", "y", source=source, color=colour, line_width=2, **what)
            made.scatter("x", "y", source=source, color=colour, size=8, **what)
            self.sources.append(source)
        if medians.by:
            _legend(made)
            made.legend.title = medians.by
            made.legend.title_text_color = TEXT_COLOUR
            made.legend.title_text_font_style = "normal"

    def feed(self, medians: Medians) -> None:
        """Update the model."""
        for source, values in zip(self.sources, medians.of):
            there = np.flatnonzero(np.isfinite(values))
            data = {"x": [self.places[k] for k in there], "y": values[there].tolist()}
            if source.data != data:
                source.data = data
