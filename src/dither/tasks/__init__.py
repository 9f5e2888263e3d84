"""Tasks: what is learned."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.tasks.arrays import Arrays
from dither.tasks.digits import Digits
from dither.tasks.images import MNIST, FashionMNIST
from dither.tasks.nist7x7 import NIST7x7
from dither.tasks.parity import XOR, Parity
from dither.tasks.task import AbstractTask, Task, accuracy, cross_entropy, make_task, mse

TASKS = registry(XOR, Parity, NIST7x7, Digits, FashionMNIST, MNIST, Arrays)
"""The tasks that a specification can ask for, by their kind."""

AnyTask = Annotated[AbstractTask, OneOf("task", TASKS)]
"""A task: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "MNIST",
    "TASKS",
    "XOR",
    "AbstractTask",
    "AnyTask",
    "Arrays",
    "Digits",
    "FashionMNIST",
    "NIST7x7",
    "Parity",
    "Task",
    "accuracy",
    "cross_entropy",
    "make_task",
    "mse",
]
