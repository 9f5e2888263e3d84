"""`learning_rate="auto"`: the rate of plain descent, from the measured costs that training sees."""

from typing import Annotated, Any, Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field, GetPydanticSchema
from pydantic_core import core_schema

from dither.algorithms.optimizer import Optimizer


def _schema(source: Any, handler: Any) -> core_schema.CoreSchema:
    del source
    return core_schema.no_info_wrap_validator_function(
        lambda value, number: value if value == "auto" else number(value),
        handler(Annotated[float, Field(ge=0)]),
        serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
    )


LearningRate: TypeAlias = Annotated[float | Literal["auto"], GetPydanticSchema(_schema)]
"""A learning rate eta ≥ 0, or `auto`."""


def check_plain(learning_rate: float | str, optimizer: Optimizer) -> None:
    """Check that `auto` goes with plain descent. Errors: `ValueError`, for pydantic to report."""
    if learning_rate == "auto" and (optimizer.name != "sgd" or optimizer.settings):
        raise ValueError(
            "learning_rate auto is for plain descent; give a number, or the optimizer sgd without "
            "settings"
        )


START = 32
"""Ticks before the first update."""
WINDOW = 256.0
"""Updates that the running means look back on."""
SHARE = 0.3
"""The most of the cost that a step along one direction may promise to remove."""
POLYAK = 6.0
"""The most by which a rate exceeds Polyak's `C / |G|²`."""


class Calibration(eqx.Module):
    """What the rate is made of.

    Attributes: `updates`, so far; `cost` and `square`, running means of C and |G|²; `most`, the
    rate found before the first update.
    """

    updates: Float[Array, ""]
    cost: Float[Array, ""]
    square: Float[Array, ""]
    most: Float[Array, ""]

    @staticmethod
    def empty() -> "Calibration":
        """Nothing measured yet."""
        zero = jnp.zeros(())
        return Calibration(zero, zero, zero, zero)


def calibrated(
    now: Calibration,
    estimate: Float[Array, " P"],
    cost: Float[Array, ""],
    kappa: float,
    ticks: int,
) -> tuple[Float[Array, ""], Calibration]:
    """The rate for one update, and the calibration after it.

    ```
    1 / eta = (<|G|²> / <C>) (1 / 6 + 1 / (0.3 (1 + kappa/T)))
    ```

    `<C> / <|G|²>` is Polyak's step for a noisy estimate, and takes the noise of batch, perturbation
    and reading into account as they are. It is small where kappa is large, since it asks that the
    distance to an optimum shrink at every step; descent that is only to reach a target bears some
    times more (6). Where kappa is small, a step must not promise more than a share (0.3) of the
    cost: `eta <|G|²> / (1 + kappa/T)` is what it promises. The rate never rises above that of
    the first 32 ticks, which bring no update; they are measurements as any others. A cost with a
    floor well above 0 makes the rate too large by C over C less the floor.

    Arguments: `estimate`, G; `cost`, one measured at the same time; `kappa` of one tick, P − 1 for
    random signs on P weights; T, the ticks averaged. Returns: eta, 0 while still starting.
    Source: the form from Polyak's step size; 6 and 0.3 found by trial, on XOR, parity, NIST7x7 and
    digits; neither derived. On Fashion-MNIST (25 450 weights) the rate is too small by several
    times: it stays stable and is not within a factor 2 of a tuned one.
    """
    starting = max(1, START // ticks)
    updates = now.updates + 1
    weight = 1 / jnp.minimum(updates, WINDOW)
    squared = jnp.vdot(estimate, estimate)
    mean = now.cost + weight * (jnp.abs(cost) - now.cost)
    square = now.square + weight * (squared - now.square)
    # a single estimate far above the mean is not trusted to be luck
    met = jnp.maximum(square, 0.1 * squared)
    per_cost = 1 / POLYAK + 1 / (SHARE * (1 + kappa / ticks))
    eta = mean / (per_cost * jnp.maximum(met, 1e-30))
    most = jnp.where(updates <= starting, eta, now.most)
    after = Calibration(updates, mean, square, most)
    return jnp.where(updates < starting, 0.0, jnp.minimum(eta, most)), after
