"""`learning_rate="auto"`: the rate of plain descent, from the measured costs that training sees."""

from typing import Annotated, Any, Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
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


START = 16
"""Ticks before the first update."""
WINDOW = 256.0
"""Updates that the running means of C and |G|² look back on."""
PROMISE = 3.0
"""The rate is `C / (3 |g| |G|)`."""
CLIP = 0.1
"""What a single |G|² counts beside the running mean, in a step."""
EVERY = 8
"""Updates from one trial to the next."""
MEMORY = 16.0
"""Trials that the running means of slope and curvature look back on."""
TRIAL = 2
"""Measurements of a trial: at theta, and a step further."""


class Calibration(eqx.Module):
    """What the rate is made of.

    Attributes: `rate`, eta; `updates`, so far; `cost` and `square`, running means of C and |G|²;
    `most`, the rate found before the first update; `slope` and `curvature` of the cost along G,
    running means over the trials; `clean`, the cost before a trial's step.
    """

    rate: Float[Array, ""]
    updates: Float[Array, ""]
    cost: Float[Array, ""]
    square: Float[Array, ""]
    most: Float[Array, ""]
    slope: Float[Array, ""]
    curvature: Float[Array, ""]
    clean: Float[Array, ""]

    @staticmethod
    def empty() -> "Calibration":
        """Nothing measured yet."""
        return Calibration(*[jnp.zeros(())] * 8)

    def limit(self) -> Float[Array, ""]:
        """The rate at which a step lowers the cost most, infinite where none was found."""
        curved = self.curvature > 0
        return jnp.where(curved, self.slope / jnp.where(curved, self.curvature, 1.0), jnp.inf)


def _starting(ticks: int) -> int:
    """The update that is the first to move anything."""
    return max(1, START // ticks)


def on_trial(tick: Int[Array, ""], ticks: int) -> Bool[Array, ""]:
    """Whether the update that a tick ends with is tried first."""
    later = (tick + 1) // ticks - _starting(ticks)
    due: Bool[Array, ""] = (tick + 1) % ticks == 0
    return due & (later >= 0) & (later % EVERY == 0)


def proposed(
    now: Calibration,
    estimate: Float[Array, " P"],
    cost: Float[Array, ""],
    spread: float,
    ticks: int,
) -> Calibration:
    """The calibration with the rate for the update by an estimate.

    ```
    eta = <C> spread / (3 <|G|²>) = <C> / (3 |g| |G|)      spread = √(1 + kappa/T) = |G| / |g|
    ```

    `C / |g|²` is Polyak's step for an exact gradient, which promises to remove the whole cost;
    `C / |G|²` is the one for a noisy estimate, under which the distance to an optimum shrinks at
    every step. The rate is the geometric mean of the two over 3. It never rises above that of the
    first 16 ticks, which bring no update, nor above the `limit` that trials have found. A cost with
    a floor well above 0 makes it too large by C over C less the floor.

    Arguments: `estimate`, G; `cost`, measured with it; `spread`; T, the ticks averaged.
    Source: found by trial over XOR, parity, NIST7x7, digits and Fashion-MNIST, not derived.
    """
    first = _starting(ticks)
    updates = now.updates + 1
    weight = 1 / jnp.minimum(updates, WINDOW)
    squared = jnp.vdot(estimate, estimate)
    mean = now.cost + weight * (jnp.abs(cost) - now.cost)
    square = now.square + weight * (squared - now.square)
    # a single estimate far above the mean is not trusted to be luck
    met = jnp.maximum(square, CLIP * squared)
    eta = spread * mean / (PROMISE * jnp.maximum(met, 1e-30))
    most = jnp.where(updates <= first, eta, now.most)
    eta = jnp.minimum(jnp.minimum(eta, most), now.limit())
    eta = jnp.where(updates < first, 0.0, eta)
    return Calibration(eta, updates, mean, square, most, now.slope, now.curvature, now.clean)


def tried(
    now: Calibration,
    step: Int[Array, ""],
    estimate: Float[Array, " P"],
    cost: Float[Array, ""],
    spread: float,
) -> Calibration:
    """The calibration after a trial's measurement, of C(θ) at step 0 and of C(θ − eta G) at 1.

    ```
    slope = |G|² / spread²,   curvature = 2 (eta slope − (C(θ) − C(θ − eta G))) / eta²
    eta ← min(eta, <slope> / <curvature>)
    ```

    Both on the batch of the estimate. The slope along G is exact for one tick of random signs on
    the weights, `gᵀG = |G|²/P`, and on average for more.

    Source: derived here, checked by the tests.
    """
    clean = jnp.where(step == 0, cost, now.clean)
    fell = jnp.where(jnp.isfinite(cost), clean - cost, -jnp.abs(clean))
    slope = jnp.vdot(estimate, estimate) / spread**2
    curvature = 2 * (now.rate * slope - fell) / jnp.maximum(now.rate, 1e-30) ** 2
    weight = jnp.where(now.slope > 0, 1 / MEMORY, 1.0)
    weight = jnp.where(step == 1, weight, 0.0)
    slope = now.slope + weight * (slope - now.slope)
    curvature = now.curvature + weight * (curvature - now.curvature)
    after = Calibration(
        now.rate, now.updates, now.cost, now.square, now.most, slope, curvature, clean
    )
    rate = jnp.minimum(now.rate, after.limit())
    limited: Calibration = eqx.tree_at(lambda c: c.rate, after, rate)
    return limited
