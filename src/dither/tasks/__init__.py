"""Tasks: what is learned, from batches of samples or along a series."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.tasks.arrays import Arrays
from dither.tasks.channel import ChannelEqualisation
from dither.tasks.digits import Digits
from dither.tasks.header import HeaderRecognition
from dither.tasks.images import MNIST, FashionMNIST
from dither.tasks.mackey_glass import MackeyGlass
from dither.tasks.narma import NARMA10
from dither.tasks.nist7x7 import NIST7x7
from dither.tasks.parity import XOR, Parity
from dither.tasks.series import AbstractSeries, Series, make_series, nmse, symbol_error_rate
from dither.tasks.series_file import SeriesFile
from dither.tasks.task import AbstractTask, Task, accuracy, cross_entropy, make_task, mse

TASKS = registry(XOR, Parity, NIST7x7, Digits, FashionMNIST, MNIST, Arrays)
"""The tasks that a specification can ask for, by their kind."""

AnyTask = Annotated[AbstractTask, OneOf("task", TASKS)]
"""A task: an instance, a table with its `kind`, or the kind alone."""

SERIES = registry(MackeyGlass, NARMA10, ChannelEqualisation, HeaderRecognition, SeriesFile)
"""The series that a reservoir can learn, by their kind."""

AnySeries = Annotated[AbstractSeries, OneOf("series", SERIES)]
"""A series: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "MNIST",
    "NARMA10",
    "SERIES",
    "TASKS",
    "XOR",
    "AbstractSeries",
    "AbstractTask",
    "AnySeries",
    "AnyTask",
    "Arrays",
    "ChannelEqualisation",
    "Digits",
    "FashionMNIST",
    "HeaderRecognition",
    "MackeyGlass",
    "NIST7x7",
    "Parity",
    "Series",
    "SeriesFile",
    "Task",
    "accuracy",
    "cross_entropy",
    "make_series",
    "make_task",
    "mse",
    "nmse",
    "symbol_error_rate",
]
