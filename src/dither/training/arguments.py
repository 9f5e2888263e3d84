"""Type checks of the arguments of `dither.train`, before anything else."""

import math
from numbers import Real
from typing import Any

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.tasks.task import AbstractTask, Task
from dither.training.until import Until


def check_arguments(
    task: Any, algorithm: Any, until: Any, observers: Any, checkpoint_seconds: Any, name: Any
) -> None:
    """Check the types of the arguments. Errors: `RequestError`."""
    _must(isinstance(task, Task | AbstractTask), "task", task, "a task, such as NIST7x7()")
    _must(
        isinstance(algorithm, AbstractAlgorithm), "algorithm", algorithm,
        "an algorithm, such as WeightMGD(learning_rate=0.1)",
    )  # fmt: skip
    _must(isinstance(until, Until), "until", until, "Until(measurements=10_000) or the like")
    listed = isinstance(observers, list | tuple) and all(map(callable, observers))
    _must(listed, "observers", observers, "a list of functions of a Progress")
    number = isinstance(checkpoint_seconds, Real) and not math.isnan(checkpoint_seconds)
    _must(number, "checkpoint_seconds", checkpoint_seconds, "a number of seconds")
    _must(isinstance(name, str), "name", name, "text")


def _must(right: bool, name: str, given: Any, due: str) -> None:
    if not right:
        shown = f"the class {given.__name__}" if isinstance(given, type) else f"{given!r:.60}"
        raise RequestError(f"The argument {name} must be {due}, not {shown}.")
