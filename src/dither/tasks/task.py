"""Tasks: data, a cost per sample, a score."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, SupportsIndex, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, Shaped
from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither._numbers import whole_number
from dither.contract import Cost
from dither.tasks.digits_left import check_resolved
from dither.tasks.samplers import AbstractSampler, AnySampler, Uniform
from dither.tasks.samples import check_lengths, samples_of
from dither.tasks.scores import (
    COSTS,
    EXPLAINED,
    CostName,
    Display,
    Score,
    accuracy,
    cross_entropy,
    display_of,
    explained,
    smoothed_cross_entropy,
)

BatchSize: TypeAlias = Annotated[int, Field(ge=1)] | Literal["all"]
"""The samples in one measurement: a number, or the whole training set."""


class Task(eqx.Module):
    """Inputs, targets, a cost per sample and a score, independent of any network.

    Attributes: `inputs`, `targets`, N training samples; `test_inputs`, `test_targets`; `batch`, the
    samples in one measurement; `cost`, from outputs and targets to one cost per sample; `score`,
    from the same to one number, larger is better; `classes`, the names of the classes; `image`,
    height and width if the inputs are images; `columns`, the names of the inputs if known;
    `sampler`, which selects the samples of a batch.

    If a cost needs several forward passes, such as the residual of a differential equation, a
    `group` of consecutive samples is drawn together. The cost still has a value for each
    sample; that of a group is their mean, and the sampler receives that of the first. `grid` is the
    shape of the points of the groups, `order` the order of the derivatives with respect to the
    inputs that the cost needs.
    """

    inputs: Float[Array, "N ..."]
    targets: Num[Array, "N ..."]
    test_inputs: Float[Array, "M ..."]
    test_targets: Num[Array, "M ..."]
    batch: int = eqx.field(static=True)
    cost: Cost = eqx.field(static=True)
    score: Score = eqx.field(static=True)
    score_name: str = eqx.field(static=True, default="accuracy")
    classes: tuple[str, ...] = eqx.field(static=True, default=())
    image: tuple[int, int] | None = eqx.field(static=True, default=None)
    columns: tuple[str, ...] = eqx.field(static=True, default=())
    sampler: AbstractSampler = eqx.field(static=True, default=Uniform())
    group: int = eqx.field(static=True, default=1)
    grid: tuple[int, ...] = eqx.field(static=True, default=())
    order: int = eqx.field(static=True, default=0)

    def sample(
        self, key: Key[Array, ""], draw: Int[Array, ""], sampling: Any = ()
    ) -> Int[Array, " B"]:
        """The training samples of the draw-th batch: a pure function of its arguments.

        Drawn with replacement; if the batch is the whole training set, all samples in order.
        `sampling` is the sampler's state; without it an adaptive sampler draws uniformly.
        """
        samples = self.inputs.shape[0]
        if self.batch >= samples and not self.sampler.learns:
            return jnp.arange(samples)
        groups, n = samples // self.group, self.batch // self.group
        chosen = self.sampler.draw(sampling, jax.random.fold_in(key, draw), n, groups)
        return (chosen[:, None] * self.group + jnp.arange(self.group)).ravel()

    def sampling(self) -> Any:
        """The sampler's initial state."""
        return self.sampler.init(self.grid or (self.inputs.shape[0] // self.group,))

    def weights(self, sampling: Any, rows: Int[Array, " B"]) -> Float[Array, " B"] | None:
        """The sampler's factors on the costs of a batch; None if all are 1."""
        of_groups = self.sampler.weights(sampling, rows[:: self.group] // self.group)
        return None if of_groups is None else jnp.repeat(of_groups, self.group)

    def weighted_cost(self, sampling: Any, rows: Int[Array, " B"]) -> Cost:
        """The cost of the samples of a batch, with the sampler's factors."""
        weights = self.weights(sampling, rows)
        if weights is None:
            return self.cost
        return lambda outputs, targets: weights * self.cost(outputs, targets)

    def sampled(self, sampling: Any, rows: Int[Array, " B"], y: Float[Array, "B K"]) -> Any:
        """The sampler's state after it received the costs of a batch, without its factors."""
        costs = self.cost(y, self.targets[rows])
        return self.sampler.tell(sampling, rows[:: self.group] // self.group, costs[:: self.group])

    @property
    def first_rows(self) -> Int[np.ndarray, " B"]:
        """The samples of a fixed batch: the first ones."""
        return np.arange(self.batch)

    @property
    def wanted_tests(self) -> Num[Array, "_ ..."]:
        """The targets of the outputs for the test inputs, row for row."""
        return self.test_targets

    @property
    def display(self) -> Display:
        """The display of the score."""
        return display_of(self.score_name)

    @property
    def told_columns(self) -> str:
        """The end of a sentence on choosing other input columns; empty if they have no names."""
        if not self.columns:
            return ""
        more = ", …" if len(self.columns) > MOST_TOLD else ""
        named = ", ".join(self.columns[:MOST_TOLD]) + more
        return f"choose columns other than {named} with task.inputs"

    @property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of outputs that fit the targets; one is enough for two classes with mse."""
        if self.group > 1:
            return (1,)
        if jnp.issubdtype(self.targets.dtype, jnp.floating):
            return (math.prod(self.targets.shape[1:]),)
        classes = len(self.classes)
        of_logits = self.cost in (cross_entropy, smoothed_cross_entropy)
        return (1, 2) if classes == 2 and not of_logits else (classes,)


def drawn(key: Key[Array, ""], draw: Int[Array, ""], batch: int, samples: int) -> Int[Array, " B"]:
    """The samples of a batch; see `Task.sample`."""
    if batch >= samples:
        return jnp.arange(samples)
    return jax.random.randint(jax.random.fold_in(key, draw), (batch,), 0, samples)


MOST_TOLD = 8
"""The number of columns that a message names, at most."""


class AbstractTask(Configuration):
    """The settings of a task; `load` makes the task itself."""

    kind: str

    @abstractmethod
    def load(self) -> Task:
        """The data, read or drawn."""


class AbstractSampledTask(AbstractTask):
    """A task whose samples come in batches.

    Arguments: `batch`, the samples in one measurement or `all` of the training set; `cost`, the
    cost per sample; `sampler`, which selects the samples of a batch.
    """

    batch: BatchSize = "all"
    cost: CostName = "mse"
    sampler: AnySampler = Uniform()

    def task_of(self, *arrays: Shaped[np.ndarray, "_ ..."] | None, **more: Any) -> Task:
        """The task of arrays with a batch and a cost. See `make_task`."""
        return make_task(*arrays, cost=self.cost, batch=self.batch, sampler=self.sampler, **more)


def make_task(
    inputs: Any,
    targets: Any = None,
    test_inputs: Any = None,
    test_targets: Any = None,
    *,
    test_share: float = 0.2,
    seed: SupportsIndex = 0,
    classes: Sequence[str] = (),
    columns: Iterable[str] = (),
    cost: str | Cost = "mse",
    score: Score | None = None,
    score_name: str | None = None,
    batch: SupportsIndex | str = "all",
    image: tuple[int, int] | None = None,
    sampler: AbstractSampler | None = None,
) -> Task:
    """A task from arrays, checked for finite inputs, equal lengths and valid labels.

    Arguments: training and test inputs (numbers) and targets (integer class labels, class names, or
    rows of values), as arrays, lists, data frames or tensors. For a data frame the targets may be
    the name of a column; an indexable dataset of pairs, such as torch's, contains its targets.
    Without test inputs, a stratified `test_share` of the samples, drawn with `seed`, is set aside.
    Further arguments: the names of the classes (by default from the labels) and of the input
    columns; a cost, by name or as a function; a score (by default accuracy for labels, 1 − NMSE for
    values); the batch size, 1 to N; height and width of images; the sampler.
    Returns: the task. Errors: `RequestError`.
    """
    drawn = whole_number(seed, "The seed", 0)
    given = (inputs, targets, test_inputs, test_targets)
    data = samples_of(*given, _names(classes), test_share, drawn)
    labelled = _check_arrays(*data[:4])
    cost = _cost_of(cost)
    names = data.classes
    if labelled:
        names = names or _numbered(data.targets)
        _check_labels({"targets": data.targets, "test targets": data.test_targets}, len(names))
    elif cost in (cross_entropy, smoothed_cross_entropy):
        raise RequestError(
            f"The cost {_named(cost)} needs integer class labels as targets; give labels or use "
            "mse."
        )
    if score is None:
        score, score_name = (accuracy, "accuracy") if labelled else (explained, EXPLAINED)
    dtype = jnp.result_type(float)
    kind = np.int32 if labelled else dtype
    return Task(
        inputs=jax.device_put(np.array(data.inputs, dtype)),
        targets=jax.device_put(np.array(data.targets, kind)),
        test_inputs=jax.device_put(np.array(data.test_inputs, dtype)),
        test_targets=jax.device_put(np.array(data.test_targets, kind)),
        batch=_batch_size(batch, len(data.inputs)),
        cost=cost,
        score=score,
        score_name=score_name or str(getattr(score, "__name__", "score")),
        classes=names,
        image=None if image is None else (int(image[0]), int(image[1])),
        columns=_names(columns) or data.columns,
        sampler=sampler or Uniform(),
    )


MOST_CLASSES = 1000
"""The number of classes without samples, at most."""


def _numbered(labels: Int[np.ndarray, " _"]) -> tuple[str, ...]:
    """The names of numbered classes. Errors: `RequestError` for invalid class numbers."""
    place, largest = int(np.argmax(labels)), int(labels.max())
    if largest >= max(MOST_CLASSES, len(labels)):
        raise RequestError(
            f"The targets hold the label {largest} (sample {place}), but labels number the classes "
            "from 0; renumber them, or give regression values as floating-point numbers."
        )
    return tuple(map(str, range(largest + 1)))


def _cost_of(cost: str | Cost) -> Cost:
    if callable(cost):
        return cost
    found = next((function for name, function in COSTS.items() if name == cost), None)
    if found is None:
        raise RequestError(
            f"The cost {cost!r} is unknown; give {' or '.join(COSTS)}, or a function of "
            "outputs and "
            "targets."
        )
    return found


def _named(cost: Cost) -> str:
    return next(name for name, function in COSTS.items() if function is cost)


def _names(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise RequestError(
            f"The classes {classes!r} are not a list of names; give a name for each."
        )
    return tuple(map(str, classes))


def _batch_size(batch: Any, samples: int) -> int:
    if isinstance(batch, str):
        if batch != "all":
            raise RequestError(f"The batch '{batch}' is not valid; give a whole number, or 'all'.")
        return samples
    size = whole_number(batch, "The batch", 1)
    if size > samples:
        raise RequestError(
            f"A batch of {size} is larger than the {samples} training samples; set batch to "
            f"{samples} or less, or to 'all'."
        )
    return size


def _check_arrays(
    inputs: Shaped[np.ndarray, "_ ..."],
    targets: Shaped[np.ndarray, "_ ..."],
    test_inputs: Shaped[np.ndarray, "_ ..."],
    test_targets: Shaped[np.ndarray, "_ ..."],
) -> bool:
    """Check the types and shapes of arrays. Returns: whether the targets are labels."""
    parts = {"inputs": (inputs, "targets", targets)}
    parts["test inputs"] = (test_inputs, "test targets", test_targets)
    for name, (x, goal, t) in parts.items():
        check_lengths(x, t, name, goal)
    labelled = bool(np.issubdtype(targets.dtype, np.integer))
    if labelled != np.issubdtype(test_targets.dtype, np.integer):
        raise RequestError(
            "The targets and the test targets must both be labels (integers) or both be values."
        )
    for what, one, other in (("input", inputs, test_inputs), ("target", targets, test_targets)):
        if one.shape[1:] != other.shape[1:]:
            raise RequestError(
                f"A training {what} has shape {one.shape[1:]}, but a test {what} "
                f"{other.shape[1:]}; give them the same shape."
            )
    check_resolved(inputs, "inputs", "subtract a constant from them")
    if not labelled:
        both = "subtract a constant from them and from what the device returns"
        check_resolved(targets, "targets", both)
    if labelled and targets.ndim > 1:
        raise RequestError(
            f"Integer targets have shape {targets.shape}; give one label per sample, or values as "
            "floating-point numbers."
        )
    return labelled


def _check_labels(goals: Mapping[str, Int[np.ndarray, " _"]], classes: int) -> None:
    for goal, labels in goals.items():
        outside = (labels < 0) | (labels >= classes)
        if outside.any():
            place = int(np.argmax(outside))
            raise RequestError(
                f"The {goal} hold the label {int(labels[place])} (sample {place}) outside the "
                f"{classes} classes 0 to {classes - 1}."
            )
