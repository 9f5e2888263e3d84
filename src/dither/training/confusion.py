"""Confusion matrices."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dither._errors import RequestError, nearest
from dither.tasks.given import as_array
from dither.tasks.samples import check_lengths
from dither.tasks.scores import told_class
from dither.tasks.task import AbstractTask, Task

if TYPE_CHECKING:
    import pandas as pd

    from dither.training.result import Result


def confusion_of(result: "Result", inputs: Any, labels: Any, replica: int) -> "pd.DataFrame":
    """The confusion matrix of a result; see `Result.confusion`."""
    import pandas as pd

    if (inputs is None) != (labels is None):
        raise RequestError("A confusion matrix needs inputs and labels; give both or neither.")
    task = result.task.load() if isinstance(result.task, AbstractTask) else result.task
    names = _classes(task)
    if inputs is None:
        if task is None:
            raise RequestError(
                "The run's task was a Python object, which is not saved in its folder; give "
                "inputs and labels: confusion(inputs, labels)."
            )
        inputs, labels = task.test_inputs, np.asarray(task.test_targets)
    true = _numbers(labels, names)
    inputs = as_array(inputs, "inputs")
    check_lengths(inputs, true, "inputs", "labels")
    told = np.asarray(told_class(jnp.asarray(result.predict(inputs, replica))), int)
    names = names or tuple(map(str, range(max(true.max(), told.max()) + 1)))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (true, told), 1)
    return pd.DataFrame(
        counts, pd.Index(names, name="true class"), pd.Index(names, name="predicted class")
    )


def _classes(task: Task | None) -> tuple[str, ...]:
    """The names of a task's classes; none if the task is unknown."""
    if task is None:
        return ()
    if np.issubdtype(task.targets.dtype, np.floating):
        raise RequestError(
            "The task's targets are values, not classes; a confusion matrix needs classes."
        )
    return task.classes


def _numbers(labels: Any, names: tuple[str, ...]) -> Int[np.ndarray, " B"]:
    """Labels, given as numbers or names, as class numbers from 0."""
    given = np.asarray(labels).reshape(-1)
    if given.dtype.kind in "USO":
        if not names:
            raise RequestError("The names of the classes are unknown; give labels as numbers.")
        numbers = {name: k for k, name in enumerate(names)}
        unknown = [str(one) for one in given if str(one) not in numbers]
        if unknown:
            raise RequestError(f"There is no class '{unknown[0]}'; {nearest(unknown[0], names)}")
        return np.array([numbers[str(one)] for one in given], int)
    given = as_array(given, "labels")
    if given.size and (given != np.round(given)).any():
        raise RequestError("The labels are not whole numbers; give the number or name of a class.")
    most = len(names) or np.inf
    if given.size and (given.min() < 0 or given.max() >= most):
        wrong = int(given[(given < 0) | (given >= most)][0])
        until = f" from 0 to {len(names) - 1}" if names else " from 0 on"
        raise RequestError(f"There is no class {wrong}; the labels number the classes{until}.")
    return given.astype(int)
