"""Costs of samples, scores of test sets, and the display of scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from dither._errors import RequestError
from dither.contract import Cost, wanted_outputs

Score: TypeAlias = Callable[[Float[Array, "B K"], Num[Array, "B ..."]], Float[Array, ""]]

CostName: TypeAlias = Literal["mse", "cross_entropy", "smoothed_cross_entropy"]


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
"""The smoothed target of a wrong class; that of the right class is 1."""


def smoothed_cross_entropy(
    outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]
) -> Float[Array, " B"]:
    """Cross-entropy of each sample on logits, `C_b = −Σ_k t_bk log softmax(y_b)_k`.

    The targets t are 1 for the right class and 0.01 for the others. Source: Oripov2025.
    """
    smoothed = SMOOTHED + (1 - SMOOTHED) * wanted_outputs(outputs, targets)
    return -jnp.sum(smoothed * jax.nn.log_softmax(outputs), axis=-1)


COSTS: dict[CostName, Cost] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
    "smoothed_cross_entropy": smoothed_cross_entropy,
}


def told_class(outputs: Float[Array, "B K"]) -> Int[Array, " B"]:
    """The predicted class: that of the largest output; for a single output, whether it is > 0.5."""
    if outputs.shape[-1] == 1:
        return (outputs[:, 0] > 0.5).astype(int)
    return jnp.argmax(outputs, axis=-1)


def accuracy(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, ""]:
    """The share of samples with the right class (for one output, class 1 is above 0.5)."""
    return jnp.mean(told_class(outputs) == targets)


EXPLAINED = "1 - NMSE"
"""The name of the two scores below."""


def explained(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, ""]:
    """The explained share of the targets' variance, `1 − NMSE = 1 − <(y − t)²> / <(t − <t>)²>`."""
    wanted = targets.reshape(outputs.shape)
    residual = jnp.mean((outputs - wanted) ** 2)
    return 1.0 - residual / jnp.mean((wanted - jnp.mean(wanted, axis=0)) ** 2)


def z_scored(values: Any) -> Any:
    """`z(y) = (y − <y>) / std(y)` over the last axis, of NumPy or JAX; 0 where y is constant."""
    xp = values.__array_namespace__()
    centred = values - xp.mean(values, axis=-1, keepdims=True)
    variance = xp.mean(centred**2, axis=-1, keepdims=True)
    # the mean of equal values may have a rounding error, so that their variance may not be 0
    rounding = 4 * float(np.finfo(values.dtype).eps) * xp.abs(values[..., :1])
    varies = variance > rounding**2
    return xp.where(varies, centred / xp.sqrt(xp.where(varies, variance, 1)), 0)


def nmse_cost(outputs: Float[Array, "B T"], targets: Float[Array, "B T"]) -> Float[Array, " B"]:
    """Normalised mean squared error of each series, `C_b = <(z(y_b) − z(t_b))²>`.

    With the z-score over the T steps it is `2 (1 − correlation)`: 0 for y = a t + b with a > 0 and
    2 for an independent output, so that scale and offset of the output do not matter. A constant
    output has the value 1 (z = 0).
    """
    return jnp.mean((z_scored(outputs) - z_scored(targets)) ** 2, axis=-1)


def explained_series(
    outputs: Float[Array, "B T"], targets: Float[Array, "B T"]
) -> Float[Array, ""]:
    """`1 − NMSE` of z-scored output and target: 1 is perfect, 0 is no better than a constant."""
    return 1 - jnp.mean(nmse_cost(outputs, targets))


def nmse(output: Float[np.ndarray, " T"], target: Float[np.ndarray, " T"]) -> float:
    """`nmse_cost` of one NumPy series. Errors: `RequestError` for a constant target."""
    if np.ptp(target) == 0:
        raise RequestError("The target is constant, so its NMSE is undefined; use another target.")
    return float(np.mean((z_scored(output.astype(float)) - z_scored(target.astype(float))) ** 2))


@dataclass(frozen=True)
class RightSymbols:
    """`1 − SER`: the share of steps whose z-scored output is nearest to the target's level.

    `SER = <d(z(y)) ≠ t>`, d(z) the level whose z-score is nearest to z

    Arguments: `levels`, of the target.
    """

    levels: tuple[float, ...]

    def __call__(
        self, outputs: Float[Array, "B T"], targets: Float[Array, "B T"]
    ) -> Float[Array, ""]:
        return jnp.mean(self.decided(outputs, targets) == targets)

    def decided(self, outputs: Any, targets: Any) -> Any:
        """The levels nearest to outputs, as NumPy or JAX arrays."""
        xp = targets.__array_namespace__()
        levels = xp.asarray(self.levels, dtype=targets.dtype)
        mean = xp.mean(targets, axis=-1, keepdims=True)
        z_levels = (levels - mean) / xp.std(targets, axis=-1, keepdims=True)
        distance = xp.abs(z_scored(outputs)[..., None] - z_levels[..., None, :])
        return levels[xp.argmin(distance, axis=-1)]


RELATIVE = "1 - relative error"
"""The name of the score below."""


@dataclass(frozen=True)
class RelativeError:
    """`1 − |u − u*| / |u*|`, for the first sample of each group, with norms over the test set.

    Arguments: `group`, the samples in each; the last column of the targets is u*.
    """

    group: int

    def __call__(
        self, outputs: Float[Array, "B 1"], targets: Float[Array, "B T"]
    ) -> Float[Array, ""]:
        u, wanted = outputs[:: self.group, 0], targets[:: self.group, -1]
        return 1 - jnp.sqrt(jnp.sum((u - wanted) ** 2) / jnp.sum(wanted**2))


def symbol_error_rate(output: Float[np.ndarray, " T"], target: Float[np.ndarray, " T"]) -> float:
    """`SER` of one NumPy series; the levels are those of the target.

    As in `nmse`, scale and offset of the output do not matter.
    Errors: `RequestError` for a constant target.
    """
    levels = np.unique(target)
    if len(levels) == 1:
        raise RequestError(
            "The target is constant, so its symbol error is undefined; use another target."
        )
    target = target.astype(float)
    decided = RightSymbols(tuple(map(float, levels))).decided(output.astype(float), target)
    return float(np.mean(decided != target))


def highest(score: Score) -> float | None:
    """The highest possible score; None if unknown."""
    known = score in (accuracy, explained, explained_series)
    return 1.0 if known or isinstance(score, RightSymbols | RelativeError) else None


@dataclass(frozen=True)
class Display:
    """The display of test results.

    Attributes: `column` of a history; `quantity`, the axis label; `log`, whether the axis is
    logarithmic; `lacking`, whether 1 minus the score is shown; `limits` of the axis.
    """

    column: str
    quantity: str
    log: bool = False
    lacking: bool = False
    limits: tuple[float, float] | None = None

    def of(self, score: Any) -> Any:
        """The displayed values for scores, or for a target."""
        return 1 - score if self.lacking else score


COST_DISPLAY = Display("test_cost", "test cost", log=True)
"""For devices that show only a cost."""

DISPLAYS = {
    "accuracy": Display("score", "test accuracy", limits=(0.0, 1.02)),
    EXPLAINED: Display("score", "test NMSE", log=True, lacking=True),
    RELATIVE: Display("score", "relative L2 error", log=True, lacking=True),
}
"""The scores that are not displayed directly, by name."""


def display_of(score_name: str | None) -> Display:
    """The display of a score of this name; None if there is none."""
    if score_name is None:
        return COST_DISPLAY
    return DISPLAYS.get(score_name, Display("score", f"test {score_name}"))
