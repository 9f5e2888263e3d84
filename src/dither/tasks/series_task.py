"""Series as tasks: the whole series is one sample."""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither._configuration import Registry
from dither.tasks.channel import ChannelEqualisation
from dither.tasks.digits_left import near_zero
from dither.tasks.header import HeaderRecognition
from dither.tasks.mackey_glass import MackeyGlass
from dither.tasks.narma import NARMA10
from dither.tasks.scores import (
    EXPLAINED,
    RightSymbols,
    Score,
    explained_series,
    nmse_cost,
    symbol_error_rate,
)
from dither.tasks.series import AbstractSeries, Series
from dither.tasks.series_file import SeriesFile
from dither.tasks.task import AbstractTask, Task

SERIES = Registry(
    "series",
    AbstractSeries,
    (MackeyGlass, NARMA10, ChannelEqualisation, HeaderRecognition, SeriesFile),
)
"""The series that a reservoir can learn, by their kind."""

AnySeries = Annotated[AbstractSeries, SERIES]
"""A series: an instance, a table with its `kind`, or the kind alone."""


class SeriesTask(AbstractTask):
    """A time series as a task with a single sample, the whole series.

    The inputs are the wash-out and the training part, the targets those of the training part. For
    the test, the inputs are the test part with a wash-out of the same length before it. The cost is
    the NMSE of z-scored output and target; the score is 1 − NMSE, or 1 − SER for symbols. A large
    mean of the targets is subtracted.

    Arguments: `series`, a table with its `kind`, or the kind alone.
    """

    kind: Literal["series"] = "series"
    series: Annotated[AnySeries, Field(examples=["narma10"])]

    def load(self) -> Task:
        return series_task(self.series.load())


def series_task(series: Series) -> Task:
    """A series as a task of one sample. See `SeriesTask`."""
    begin, end = series.test_part.start - series.washout, series.test_part.stop
    dtype = jnp.result_type(float)

    def one(values: Float[np.ndarray, " T"]) -> Float[Array, "1 T"]:
        return jnp.asarray(values[None], dtype)

    targets = near_zero(series.targets, series.targets[series.train_part])
    score: Score = explained_series
    name = EXPLAINED
    if series.score is symbol_error_rate:
        levels = np.unique(np.asarray(targets, dtype))
        score, name = RightSymbols(levels=tuple(map(float, levels))), "1 - SER"
    return Task(
        inputs=one(series.inputs[: series.train_part.stop]),
        targets=one(targets[series.train_part]),
        test_inputs=one(series.inputs[begin:end]),
        test_targets=one(targets[series.test_part]),
        batch=1,
        cost=nmse_cost,
        score=score,
        score_name=name,
    )
