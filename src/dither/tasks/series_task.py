"""A series as a task: one sample is the whole series."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither._configuration import Registry
from dither.tasks.channel import ChannelEqualisation
from dither.tasks.header import HeaderRecognition
from dither.tasks.mackey_glass import MackeyGlass
from dither.tasks.narma import NARMA10
from dither.tasks.series import AbstractSeries, Series, symbol_error_rate
from dither.tasks.series_file import SeriesFile
from dither.tasks.task import AbstractTask, Score, Task


def nmse_cost(outputs: Float[Array, "B T"], targets: Float[Array, "B T"]) -> Float[Array, " B"]:
    """Normalised mean squared error of each series, `C_b = <(z(y_b) − z(t_b))²>`.

    z is the z-score over the T steps, `z(y) = (y − <y>) / std(y)`, so that scale and offset of the
    output do not count. A constant output counts as 1 (z = 0).
    """
    return jnp.mean((_z_scored(outputs) - _z_scored(targets)) ** 2, axis=-1)


def _z_scored(values: Float[Array, "B T"]) -> Float[Array, "B T"]:
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    # the mean of equal values may be off by a rounding, so that their variance is not always 0
    rounding = 4 * float(np.finfo(values.dtype).eps) * jnp.abs(values[..., :1])
    varies = variance > rounding**2
    return jnp.where(varies, centred / jnp.sqrt(jnp.where(varies, variance, 1)), 0)


def explained_series(
    outputs: Float[Array, "B T"], targets: Float[Array, "B T"]
) -> Float[Array, ""]:
    """`1 − NMSE` of z-scored output and target: 1 is perfect, 0 no better than a constant."""
    return 1 - jnp.mean(nmse_cost(outputs, targets))


@dataclass(frozen=True)
class RightSymbols:
    """`1 − SER`: the share of steps whose z-scored output is nearest to the target's level.

    Arguments: `levels`, those that occur in the target.
    """

    levels: tuple[float, ...]

    def __call__(
        self, outputs: Float[Array, "B T"], targets: Float[Array, "B T"]
    ) -> Float[Array, ""]:
        levels = jnp.asarray(self.levels, targets.dtype)
        mean = jnp.mean(targets, axis=-1, keepdims=True)
        z_levels = (levels - mean) / jnp.std(targets, axis=-1, keepdims=True)
        guess = jnp.argmin(jnp.abs(_z_scored(outputs)[..., None] - z_levels[:, None, :]), axis=-1)
        return jnp.mean(levels[guess] == targets)


SERIES = Registry(
    "series",
    AbstractSeries,
    (MackeyGlass, NARMA10, ChannelEqualisation, HeaderRecognition, SeriesFile),
)
"""The series that a reservoir can learn, by their kind."""

AnySeries = Annotated[AbstractSeries, SERIES]
"""A series: an instance, a table with its `kind`, or the kind alone."""


class SeriesTask(AbstractTask):
    """A series to learn from left to right; its one sample is the whole of it.

    Inputs are the wash-out and the training part, targets those of the training part; for the test,
    as many steps of wash-out before the test part. The cost is the NMSE of z-scored output and
    target, the score 1 − NMSE, or 1 − SER for symbols.

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

    score: Score = explained_series
    name = "1 - NMSE"
    if series.score is symbol_error_rate:
        levels = np.unique(np.asarray(series.targets, dtype))
        score, name = RightSymbols(levels=tuple(map(float, levels))), "1 - SER"
    return Task(
        inputs=one(series.inputs[: series.train_part.stop]),
        targets=one(series.targets[series.train_part]),
        test_inputs=one(series.inputs[begin:end]),
        test_targets=one(series.targets[series.test_part]),
        batch=1,
        cost=nmse_cost,
        score=score,
        score_name=name,
    )
