"""What is learned: data, a cost per sample, a score."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Num, Shaped
from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.contract import Cost

Score: TypeAlias = Callable[[Float[Array, "B K"], Num[Array, "B ..."]], Float[Array, ""]]

CostName: TypeAlias = Literal["mse", "cross_entropy", "smoothed_cross_entropy"]

BatchSize: TypeAlias = Annotated[int, Field(ge=1)] | Literal["all"]
"""The samples in one measurement: a number, or the whole training set."""


def wanted_outputs(
    outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]
) -> Float[Array, "B K"]:
    """Targets as outputs: class labels become one-hot rows (one output: 0 or 1), values stay."""
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return targets.reshape(outputs.shape)
    if outputs.shape[-1] == 1:
        return targets.reshape(-1, 1).astype(outputs.dtype)
    return jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)


def mse(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, " B"]:
    """Mean squared error of each sample, `C_b = mean_k (y_bk − t_bk)²`."""
    return jnp.mean((outputs - wanted_outputs(outputs, targets)) ** 2, axis=-1)


def cross_entropy(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, " B"]:
    """Cross-entropy of each sample on logits, `C_b = −log softmax(y_b)[t_b]`."""
    cost: Float[Array, " B"] = optax.losses.softmax_cross_entropy_with_integer_labels(
        outputs, targets
    )
    return cost


SMOOTHED = 0.01
"""The target of a wrong class where targets are smoothed; that of the right one is 1."""


def smoothed_cross_entropy(
    outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]
) -> Float[Array, " B"]:
    """Cross-entropy of each sample on logits, `C_b = −Σ_k t_bk log softmax(y_b)_k`.

    The targets t are 1 for the right class and 0.01 for the others. Source: Oripov2025.
    """
    smoothed = SMOOTHED + (1 - SMOOTHED) * wanted_outputs(outputs, targets)
    return -jnp.sum(smoothed * jax.nn.log_softmax(outputs), axis=-1)


def accuracy(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, ""]:
    """Share of samples whose largest output is the right class (one output: above 0.5 is 1)."""
    guess = outputs[:, 0] > 0.5 if outputs.shape[-1] == 1 else jnp.argmax(outputs, axis=-1)
    return jnp.mean(guess == targets)


def explained(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, ""]:
    """Explained share of the targets' variance, `1 − NMSE = 1 − <(y − t)²> / <(t − <t>)²>`."""
    wanted = targets.reshape(outputs.shape)
    residual = jnp.mean((outputs - wanted) ** 2)
    return 1.0 - residual / jnp.mean((wanted - jnp.mean(wanted, axis=0)) ** 2)


COSTS: dict[CostName, Cost] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
    "smoothed_cross_entropy": smoothed_cross_entropy,
}


class Task(eqx.Module):
    """Inputs, targets, a cost per sample and a score; it knows no network.

    Attributes: `inputs`, `targets`, N training samples; `test_inputs`, `test_targets`; `batch`, the
    samples in one measurement; `cost`, from outputs and targets to one cost a sample; `score`, the
    same to one number, larger is better; `classes`, the names of the classes; `image`, height and
    width where the inputs are images.
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

    def sample(self, key: Key[Array, ""], draw: Int[Array, ""]) -> Int[Array, " B"]:
        """Which training samples the draw-th batch holds: a pure function of key and draw.

        Drawn with replacement; the whole training set in order where the batch is that large.
        """
        samples = self.inputs.shape[0]
        if self.batch >= samples:
            return jnp.arange(samples)
        return jax.random.randint(jax.random.fold_in(key, draw), (self.batch,), 0, samples)

    @property
    def outputs(self) -> tuple[int, ...]:
        """How many outputs fit the targets: one is enough for two classes under mse."""
        if jnp.issubdtype(self.targets.dtype, jnp.floating):
            return (math.prod(self.targets.shape[1:]),)
        classes = len(self.classes)
        return (1, 2) if classes == 2 and self.cost is mse else (classes,)


class AbstractTask(Configuration):
    """The settings of a task; `load` makes the task itself."""

    kind: str

    @abstractmethod
    def load(self) -> Task:
        """The data, read or drawn."""


class AbstractSampledTask(AbstractTask):
    """A task whose samples come in batches.

    Arguments: `batch`, the samples in one measurement or `all` of the training set; `cost`,
    the cost per sample.
    """

    batch: BatchSize = "all"
    cost: CostName = "mse"


def check_lengths(
    x: Shaped[np.ndarray, "..."], t: Shaped[np.ndarray, "..."], name: str, goal: str
) -> None:
    """Check that inputs and targets are as many, at least one. Errors: `RequestError`."""
    if len(x) == 0:
        raise RequestError(f"The {name} hold no samples; give at least one.")
    if len(x) != len(t):
        raise RequestError(f"There are {len(x)} {name} and {len(t)} {goal}; give as many.")


def make_task(
    inputs: Shaped[np.ndarray, "_ ..."],
    targets: Shaped[np.ndarray, "_ ..."],
    test_inputs: Shaped[np.ndarray, "_ ..."],
    test_targets: Shaped[np.ndarray, "_ ..."],
    *,
    classes: tuple[str, ...] = (),
    cost: CostName | Cost = "mse",
    score: Score | None = None,
    score_name: str | None = None,
    batch: BatchSize = "all",
    image: tuple[int, int] | None = None,
) -> Task:
    """A task from arrays, checked: finite inputs, equal lengths, labels inside the classes.

    Arguments: training and test inputs (numbers) and targets (integer class labels, or rows of
    values); the names of the classes (found from the labels if not given); a cost by name or as a
    function; a score (accuracy for labels, 1 − NMSE for values); the batch size, N at most; height
    and width of image inputs.
    Returns: the task. Errors: `RequestError` in one sentence.
    """
    parts = {"inputs": inputs, "test inputs": test_inputs}
    goals = {"targets": targets, "test targets": test_targets}
    for (name, x), (goal, t) in zip(parts.items(), goals.items()):
        check_lengths(x, t, name, goal)
        for what, values in ((name, x), (goal, t)):
            if not np.issubdtype(values.dtype, np.number):
                raise RequestError(f"The {what} are of type {values.dtype}; give numbers.")
            if not np.all(np.isfinite(values)):
                rows = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
                raise RequestError(
                    f"The {what} hold NaN or infinity, first in sample {int(np.argmax(rows))}; "
                    "remove or replace such samples."
                )
    if inputs.shape[1:] != test_inputs.shape[1:]:
        raise RequestError(
            f"A training input has shape {inputs.shape[1:]} and a test input "
            f"{test_inputs.shape[1:]}; give them one shape."
        )
    labelled = np.issubdtype(targets.dtype, np.integer)
    if labelled != np.issubdtype(test_targets.dtype, np.integer):
        raise RequestError(
            "The targets and the test targets are not both labels (integers) or both values."
        )
    if targets.shape[1:] != test_targets.shape[1:]:
        raise RequestError(
            f"A training target has shape {targets.shape[1:]} and a test target "
            f"{test_targets.shape[1:]}; give them one shape."
        )
    if labelled and targets.ndim > 1:
        raise RequestError(
            f"Integer targets have shape {targets.shape}; give one label a sample, or values as "
            "floating-point numbers."
        )
    if labelled:
        if not classes:
            classes = tuple(str(label) for label in range(int(targets.max()) + 1))
        for goal, labels in goals.items():
            outside = (labels < 0) | (labels >= len(classes))
            if outside.any():
                place = int(np.argmax(outside))
                raise RequestError(
                    f"The {goal} hold the label {int(labels[place])} (sample {place}) outside the "
                    f"{len(classes)} classes 0 to {len(classes) - 1}."
                )
    if not labelled and cost in ("cross_entropy", "smoothed_cross_entropy"):
        raise RequestError(
            f"The cost {cost} needs integer class labels as targets; give labels or use mse."
        )
    if batch != "all" and batch > len(inputs):
        raise RequestError(
            f"A batch of {batch} is larger than the {len(inputs)} training samples; set batch to "
            f"{len(inputs)} or less, or to 'all'."
        )
    if score is None:
        score, score_name = (accuracy, "accuracy") if labelled else (explained, "1 - NMSE")
    dtype = jnp.result_type(float)
    kind = np.int32 if labelled else dtype
    return Task(
        inputs=jnp.asarray(inputs, dtype),
        targets=jnp.asarray(targets, kind),
        test_inputs=jnp.asarray(test_inputs, dtype),
        test_targets=jnp.asarray(test_targets, kind),
        batch=len(inputs) if batch == "all" else batch,
        cost=COSTS[cost] if isinstance(cost, str) else cost,
        score=score,
        score_name=score_name or str(getattr(score, "__name__", "score")),
        classes=classes,
        image=image,
    )
