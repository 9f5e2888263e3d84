"""Tasks: data sets, time series and differential equations to learn."""

from typing import Annotated

from dither._configuration import Registry
from dither.tasks.arrays import Arrays as Arrays
from dither.tasks.by_file import by_file
from dither.tasks.channel import ChannelEqualisation as ChannelEqualisation
from dither.tasks.csv_file import CSVFile as CSVFile
from dither.tasks.dealt import DealtTask as DealtTask
from dither.tasks.dealt import Shards as Shards
from dither.tasks.delayed_recall import DelayedRecall as DelayedRecall
from dither.tasks.digits import Digits as Digits
from dither.tasks.equations import Burgers as Burgers
from dither.tasks.equations import Convection as Convection
from dither.tasks.equations import Heat as Heat
from dither.tasks.equations import Poisson1D as Poisson1D
from dither.tasks.equations import Poisson2D as Poisson2D
from dither.tasks.header import HeaderRecognition as HeaderRecognition
from dither.tasks.images import MNIST as MNIST
from dither.tasks.images import FashionMNIST as FashionMNIST
from dither.tasks.mackey_glass import MackeyGlass as MackeyGlass
from dither.tasks.mnist5000 import MNIST5000 as MNIST5000
from dither.tasks.narma import NARMA10 as NARMA10
from dither.tasks.nist7x7 import NIST7x7 as NIST7x7
from dither.tasks.own_error import OwnError as OwnError
from dither.tasks.parity import XOR as XOR
from dither.tasks.parity import Parity as Parity
from dither.tasks.samplers import SAMPLERS as SAMPLERS
from dither.tasks.samplers import Adaptive as Adaptive
from dither.tasks.samplers import Uniform as Uniform
from dither.tasks.scores import Display as Display
from dither.tasks.scores import accuracy as accuracy
from dither.tasks.scores import cross_entropy as cross_entropy
from dither.tasks.scores import explained_series as explained_series
from dither.tasks.scores import mse as mse
from dither.tasks.scores import nmse as nmse
from dither.tasks.scores import nmse_cost as nmse_cost
from dither.tasks.scores import smoothed_cross_entropy as smoothed_cross_entropy
from dither.tasks.scores import symbol_error_rate as symbol_error_rate
from dither.tasks.series import AbstractSeries as AbstractSeries
from dither.tasks.series import Series as Series
from dither.tasks.series import make_series as make_series
from dither.tasks.series_file import SeriesFile as SeriesFile
from dither.tasks.series_task import SERIES as SERIES
from dither.tasks.series_task import AnySeries as AnySeries
from dither.tasks.series_task import SeriesTask as SeriesTask
from dither.tasks.series_task import series_task as series_task
from dither.tasks.stencils import STENCILS as STENCILS
from dither.tasks.stencils import AbstractStencil as AbstractStencil
from dither.tasks.stencils import CentralDifferences as CentralDifferences
from dither.tasks.stencils import Derivatives as Derivatives
from dither.tasks.stencils import Stein as Stein
from dither.tasks.task import AbstractSampledTask as AbstractSampledTask
from dither.tasks.task import AbstractTask as AbstractTask
from dither.tasks.task import Task as Task
from dither.tasks.task import make_task as make_task

TASKS = Registry("task", AbstractTask, globals().values(), shorthand=by_file)
"""The tasks that a specification can select, by their kind."""

AnyTask = Annotated[AbstractTask, TASKS]
"""A task: an instance, a table with its `kind`, the kind alone, or a file such as `own.csv`."""
