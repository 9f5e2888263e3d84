"""Samples from users' data: arrays, a frame with a label column, a dataset of pairs."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num, Shaped

from dither._errors import RequestError, nearest
from dither.tasks.given import as_array
from dither.tasks.set_aside import set_aside


class Samples(NamedTuple):
    """Training and test samples as arrays, with the names of classes and input columns if known."""

    inputs: Num[np.ndarray, "N ..."]
    targets: Num[np.ndarray, "N ..."]
    test_inputs: Num[np.ndarray, "M ..."]
    test_targets: Num[np.ndarray, "M ..."]
    classes: tuple[str, ...]
    columns: tuple[str, ...]


def samples_of(
    inputs: Any,
    targets: Any,
    test_inputs: Any,
    test_targets: Any,
    classes: tuple[str, ...] = (),
    test_share: float = 0.2,
    seed: int = 0,
) -> Samples:
    """The samples as arrays; without test inputs, a share is set aside for testing.

    Text labels become class numbers. See `make_task`.
    """
    given, t, named, columns = _pair(inputs, targets, "inputs", "targets")
    x, classes = as_array(given, "inputs"), classes or named
    if test_inputs is None:
        if test_targets is not None:
            raise RequestError("There are test targets without test inputs; give both or neither.")
        (t,), classes = _numbered([t], classes)
        t = as_array(_single(t), "targets")
        check_lengths(x, t, "inputs", "targets")
        train, test = set_aside(t, test_share, seed)
        return Samples(x[train], t[train], x[test], t[test], classes, columns)
    column = targets if test_targets is None and columns else test_targets
    given, t2, _, _ = _pair(test_inputs, column, "test inputs", "test targets")
    x2 = as_array(given, "test inputs")
    (t, t2), classes = _numbered([t, t2], classes)
    t, t2 = as_array(_single(t), "targets"), as_array(_single(t2), "test targets")
    return Samples(x, t, x2, t2, classes, columns)


def check_lengths(
    x: Shaped[np.ndarray, "..."], t: Shaped[np.ndarray, "..."], name: str, goal: str
) -> None:
    """Check that inputs and targets have equal length, at least one. Errors: `RequestError`."""
    if len(x) == 0:
        raise RequestError(f"The {name} hold no samples; give at least one.")
    if len(x) != len(t):
        raise RequestError(f"There are {len(x)} {name} but {len(t)} {goal}; give equally many.")


def _pair(
    inputs: Any, targets: Any, name: str, goal: str
) -> tuple[Any, Any, tuple[str, ...], tuple[str, ...]]:
    """Inputs, targets, and the names of classes and input columns if known."""
    columns = list(getattr(inputs, "columns", ()))
    if columns and isinstance(targets, str | int):
        if targets not in columns:
            near = nearest(str(targets), map(str, columns))
            raise RequestError(f"The {name} have no column {targets!r}; {near}")
        columns.remove(targets)
        inputs, targets = inputs[columns], inputs[targets]
    elif targets is None:
        if columns or hasattr(inputs, "shape"):
            how = ", such as make_task(frame, 'species')" if columns else ""
            raise RequestError(f"The {name} have no {goal}; give {goal}{how}.")
        return (*_of_dataset(inputs, name), tuple(map(str, getattr(inputs, "classes", ()))), ())
    for column in columns:
        if _texts(inputs[column], f"column {column!r} of the {name}") is not None:
            raise RequestError(
                f"The column {column!r} of the {name} is text; leave it out, or use it as the "
                f"{goal}."
            )
    return inputs, targets, (), tuple(map(str, columns))


def _of_dataset(dataset: Any, name: str) -> tuple[Any, Any]:
    """Inputs and targets of an indexable dataset of pairs, such as a torch dataset."""
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise RequestError(
            f"The {name} are a {type(dataset).__name__} without targets and not a dataset of "
            "pairs of input and target; give arrays or such a dataset."
        )
    xs, ts = [], []
    for place in range(len(dataset)):
        pair = dataset[place]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise RequestError(
                f"Sample {place} of the {name} is not a pair of input and target; give "
                "targets, or a "
                "dataset of such pairs."
            )
        xs.append(_plain(pair[0]))
        ts.append(_plain(pair[1]))
    return xs, ts


def _plain(part: Any) -> Any:
    return part.detach().cpu().numpy() if callable(getattr(part, "detach", None)) else part


def _single(targets: Any) -> Any:
    """Targets; a data frame with a single column becomes a series."""
    columns: Any = getattr(targets, "columns", ())
    return targets[columns[0]] if len(columns) == 1 else targets


def _numbered(parts: list[Any], classes: tuple[str, ...]) -> tuple[list[Any], tuple[str, ...]]:
    """Text labels as class numbers; other labels unchanged."""
    texts = [_texts(_single(part), name) for part, name in zip(parts, ("targets", "test targets"))]
    labels = [text for text in texts if text is not None]
    if len(labels) < len(parts):
        return parts, classes
    classes = classes or tuple(map(str, np.unique(np.concatenate(labels))))
    return [numbers_of(text, classes) for text in labels], classes


def numbers_of(labels: Iterable[str], classes: tuple[str, ...]) -> Int[np.ndarray, " N"]:
    """The class number of each label. Errors: `RequestError` for an unknown class."""
    number = {name: place for place, name in enumerate(classes)}
    found = [number.get(label, -1) for label in labels]
    if -1 in found:
        wrong = list(labels)[found.index(-1)]
        near = nearest(wrong, classes)
        raise RequestError(f"The label '{wrong}' (sample {found.index(-1)}) is not a class; {near}")
    return np.array(found, np.int64)


def _texts(given: Any, name: str) -> Shaped[np.ndarray, " N"] | None:
    """Text labels, one per sample; None for numbers."""
    if callable(getattr(given, "detach", None)):
        return None
    try:
        values = given.to_numpy() if callable(getattr(given, "to_numpy", None)) else given
        values = np.asarray(values)
    except ValueError:  # rows of unequal lengths, which are reported elsewhere
        return None
    if values.ndim != 1 or values.dtype.kind not in "UO" or not len(values):
        return None
    text = [isinstance(value, str) for value in values]
    if not any(text):
        return None
    if not all(text):
        place = text.index(False)
        raise RequestError(
            f"The {name} mix text and other values, such as {values[place]!r} in sample {place}; "
            "give text throughout, or numbers."
        )
    return values.astype(str)
