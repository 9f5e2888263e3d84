"""`learning_rate="auto"`: the rate of plain descent, from the costs measured in training."""

from typing import Annotated, Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field, GetPydanticSchema
from pydantic_core import core_schema


def _schema(source: Any, handler: Any) -> core_schema.CoreSchema:
    del source
    return core_schema.no_info_wrap_validator_function(
        lambda value, number: value if value == "auto" else number(value),
        handler(Annotated[float, Field(ge=0)]),
        serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
    )


LearningRate: TypeAlias = Annotated[float | Literal["auto"], GetPydanticSchema(_schema)]
"""A learning rate eta ≥ 0, or `auto`."""


START = 8
"""Trial updates before the first update that is applied."""
WINDOW = 256.0
"""The window of the running means of C and |G|², in updates."""
PROMISE = 6.0
"""Training begins at `C / (6 |g| |G|)`."""
CLIP = 0.1
"""The weight of a single |G|² relative to the running mean, in a step."""
EVERY = 8
"""Updates between trials."""
SURE = 2.0
"""The significance of trials, in standard errors."""
TRIAL = 2
"""Measurements of a trial: at half a step and at one and a half steps from theta."""


class Calibration(eqx.Module):
    """The state of the automatic learning rate.

    Attributes: `rate`, eta; `boost` k ≥ 1, the factor on the first rate set by trials; `updates`,
    so far; `cost` and `square`, running means of C and |G|²; `most`, the largest eta / k of the
    first updates; `gain` and `gain_square`, sums of x and x² over the trials since k last changed;
    `shorter`, the cost after half a step.
    """

    rate: Float[Array, ""]
    boost: Float[Array, ""]
    updates: Float[Array, ""]
    cost: Float[Array, ""]
    square: Float[Array, ""]
    most: Float[Array, ""]
    gain: Float[Array, ""]
    gain_square: Float[Array, ""]
    shorter: Float[Array, ""]

    @staticmethod
    def empty() -> "Calibration":
        """The calibration before any measurement."""
        zero = jnp.zeros(())
        return Calibration(zero, zero + 1, *[zero] * 7)

    def step(self) -> Float[Array, ""]:
        """The rate of the present update; 0 for trial updates."""
        return jnp.where(self.updates <= START, 0.0, self.rate)


def on_trial(tick: Int[Array, ""], ticks: int) -> Bool[Array, ""]:
    """Whether the update at the end of a tick is tried first."""
    update, complete = tick // ticks, (tick + 1) % ticks == 0
    due: Bool[Array, ""] = complete & ((update < START) | (update % EVERY == 0))
    return due


def ahead(now: Calibration, side: Int[Array, ""]) -> Float[Array, ""]:
    """The distance along −G of a trial: eta / 2 on side 0, 3 eta / 2 on side 1."""
    return (side + 0.5) * now.rate


def proposed(
    now: Calibration,
    estimate: Float[Array, " P"],
    cost: Float[Array, ""],
    spread: float | None,
    short: Float[Array, ""] | None = None,
) -> Calibration:
    """The calibration with the rate for an update by an estimate.

    ```
    eta = k <C> / (6 |g| |G|),   |G|² = <|G|²>,   |g| = |G| / spread,   spread = √(1 + kappa/T)
    eta = k <C> / <|G|²>         if the spread is unknown
    ```

    `C / |g|²` is Polyak's step for an exact gradient, which to first order removes the whole cost;
    `C / |G|²` is the step for a noisy estimate, with which the distance to an optimum decreases at
    every step. Without k, the rate never exceeds that of the first updates.

    Both assume a minimum cost of 0. If the minimum is unknown, as for a device with its own cost,
    `eta = k short / |G|`: k times the length of a perturbation, with k found by trials.

    Arguments: `estimate`, G; `cost`, measured with it; `spread`, or None, as for perturbations per
    example, whose scatter depends on how much the examples agree; `short`, the length of a
    perturbation, if the minimum cost is unknown. Source: the 6 was found empirically on XOR,
    parity, NIST7x7, digits and Fashion-MNIST.
    """
    updates = now.updates + 1
    weight = 1 / jnp.minimum(updates, WINDOW)
    squared = jnp.vdot(estimate, estimate)
    mean = now.cost + weight * (jnp.abs(cost) - now.cost)
    square = now.square + weight * (squared - now.square)
    # a single estimate far above the mean also counts
    met = jnp.maximum(jnp.maximum(square, CLIP * squared), 1e-30)
    if short is None:
        first = mean / met * (1.0 if spread is None else spread / PROMISE)
    else:
        first = short / jnp.sqrt(met)
    most = jnp.where(updates <= START, first, now.most)
    rate = now.boost * jnp.minimum(first, most)
    found: Calibration = eqx.tree_at(
        lambda c: (c.rate, c.updates, c.cost, c.square, c.most),
        now,
        (rate, updates, mean, square, most),
    )
    return found


def tried(
    now: Calibration, side: Int[Array, ""], cost: Float[Array, ""], known: bool = True
) -> Calibration:
    """The calibration after a trial's measurement, on the batch of the next tick.

    ```
    x = C(θ − eta G/2) − C(θ − 3 eta G/2) = −eta ∂C(θ − eta G)/∂eta
    k ← 2k if Σx > 2 √Σx²,   k ← k/2 if Σx < −2 √Σx², never below 1
    ```

    x > 0 if a longer step lowers the cost more; its mean is 0 at the best rate of a quadratic cost,
    `|g|² / E[GᵀHG]`. The sums are reset when k changes. On a plateau, noisy steps that raise the
    cost can be useful; trials cannot detect this, so they only undo earlier increases of k. If the
    minimum cost is unknown, k may also fall below 1, and before the first applied update `k ← 4k`
    if x > 0, else `k ← k/8`.

    Source: derived here, checked by the tests.
    """
    x = now.shorter - cost
    x = jnp.where(jnp.isfinite(x), x, -now.cost)
    gain, gain_square = now.gain + x, now.gain_square + x**2
    sure = gain**2 > SURE**2 * gain_square
    boost = jnp.where(sure, now.boost * jnp.where(gain > 0, 2.0, 0.5), now.boost)
    if known:
        boost = jnp.maximum(boost, 1.0)
    else:
        longer = jnp.where(now.updates < START, 4.0, 1.0)
        searched = now.boost * jnp.where(x > 0, longer, 0.125)
        sure = sure | (now.updates <= START)
        boost = jnp.where(now.updates <= START, searched, boost)
    gain, gain_square = jnp.where(sure, 0.0, gain), jnp.where(sure, 0.0, gain_square)
    rate = now.rate * boost / now.boost
    judged = eqx.tree_at(
        lambda c: (c.rate, c.boost, c.gain, c.gain_square), now, (rate, boost, gain, gain_square)
    )
    waiting = eqx.tree_at(lambda c: c.shorter, now, cost)
    after: Calibration = jax.tree.map(
        lambda new, old: jnp.where(side == 1, new, old), judged, waiting
    )
    return after


def told(
    now: Calibration,
    direction: Float[Array, " P"],
    cost: Float[Array, ""],
    spread: float | None,
    short: Float[Array, ""] | None,
    which: Int[Array, ""],
    side: Int[Array, ""],
    measured: Float[Array, ""],
) -> Calibration:
    """The calibration after any measurement.

    Arguments: those of `proposed`; `which`: 0 for a measurement that changes nothing, 1 for the
    last one of an estimate, 2 for one of a trial, with side and cost as in `tried`.
    """
    after: Calibration = jax.lax.switch(
        which,
        [
            lambda: now,
            lambda: proposed(now, direction, cost, spread, short),
            lambda: tried(now, side, measured, short is None),
        ],
    )
    return after
