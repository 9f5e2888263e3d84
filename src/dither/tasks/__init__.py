"""Tasks: what is learned, from batches of samples or along a series."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.tasks.arrays import Arrays
from dither.tasks.channel import ChannelEqualisation
from dither.tasks.delayed_recall import DelayedRecall
from dither.tasks.digits import Digits
from dither.tasks.header import HeaderRecognition
from dither.tasks.images import MNIST, FashionMNIST
from dither.tasks.mackey_glass import MackeyGlass
from dither.tasks.narma import NARMA10
from dither.tasks.nist7x7 import NIST7x7
from dither.tasks.own_error import OwnError
from dither.tasks.parity import XOR, Parity
from dither.tasks.series import AbstractSeries, Series, make_series, nmse, symbol_error_rate
from dither.tasks.series_file import SeriesFile
from dither.tasks.series_task import (
    SERIES,
    AnySeries,
    SeriesTask,
    explained_series,
    nmse_cost,
    series_task,
)
from dither.tasks.task import (
    AbstractSampledTask,
    AbstractTask,
    Task,
    accuracy,
    cross_entropy,
    make_task,
    mse,
    smoothed_cross_entropy,
)

TASKS = registry(
    XOR, Parity, NIST7x7, Digits, FashionMNIST, MNIST, DelayedRecall, Arrays, SeriesTask, OwnError
)
"""The tasks that a specification can ask for, by their kind."""

AnyTask = Annotated[AbstractTask, OneOf("task", TASKS)]
"""A task: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "MNIST",
    "NARMA10",
    "SERIES",
    "TASKS",
    "XOR",
    "AbstractSampledTask",
    "AbstractSeries",
    "AbstractTask",
    "AnySeries",
    "AnyTask",
    "Arrays",
    "ChannelEqualisation",
    "DelayedRecall",
    "Digits",
    "FashionMNIST",
    "HeaderRecognition",
    "MackeyGlass",
    "NIST7x7",
    "OwnError",
    "Parity",
    "Series",
    "SeriesFile",
    "SeriesTask",
    "Task",
    "accuracy",
    "cross_entropy",
    "explained_series",
    "make_series",
    "make_task",
    "mse",
    "nmse",
    "nmse_cost",
    "series_task",
    "smoothed_cross_entropy",
    "symbol_error_rate",
]
