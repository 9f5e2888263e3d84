"""Multiplexed gradient descent by weight perturbation, digital form."""

from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key
from pydantic import Field, model_validator

from dither.algorithms import calibration
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.calibration import Calibration, LearningRate, check_plain
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.outliers import Size, clipped, unless
from dither.codes import AnyCode, Rademacher
from dither.contract import Clock, Measurement, Probe, Space
from dither.laws.estimate import growth


class WeightState(eqx.Module):
    """Where weight MGD stands: parameters theta, accumulated correlation G, reference cost C0."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    reference: Float[Array, ""]
    optimizer: Any
    calibration: Calibration | tuple[()]
    size: Size | tuple[()]
    space: Space = eqx.field(static=True)


class WeightMGD(AbstractAlgorithm):
    """Perturb all parameters at once, measure the cost, correlate, integrate, update.

    ```
    baseline:  G ← G + (C(θ + p) − C(θ)) p / (power δ²)
    central:   G ← G + (C(θ + p) − C(θ − p)) p / (2 power δ²)
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    A tick is one perturbation: one perturbed measurement, or a central pair. `G / tau_theta` is the
    averaged, unbiased gradient estimate. The baseline C(θ) is measured again, and counted, whenever
    the batch or the parameters have changed. (McCaughan2023 divides by P δ² and sums over
    tau_theta: its learning rate is eta P / tau_theta in the terms used here.)

    Arguments:
        learning_rate: eta ≥ 0, or `auto` for plain descent (`dither.algorithms.calibration`).
        delta: amplitude δ > 0 of a parameter's perturbation; rounded to whole DAC steps, of which
            one is the least.
        pairs: `baseline` (one-sided) or `central`.
        tau_p, tau_x, tau_theta: ticks between new perturbations, new batches, updates; ≥ 1.
        code: the perturbation code.
        optimizer: any Optax optimiser.
        outliers: cost differences beyond so many times their running mean size are clipped to it;
            > 0, such as 5; None to take them as they are.

    Source: McCaughan2023.
    """

    kind: Literal["weight-mgd"] = "weight-mgd"
    learning_rate: LearningRate
    delta: Annotated[float, Field(gt=0)] = 1e-3
    pairs: Literal["baseline", "central"] = "baseline"
    tau_p: Annotated[int, Field(ge=1)] = 1
    tau_x: Annotated[int, Field(ge=1)] = 1
    tau_theta: Annotated[int, Field(ge=1)] = 1
    code: AnyCode = Rademacher()
    optimizer: AnyOptimizer = Optimizer()
    outliers: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _auto_is_for_plain_descent(self) -> "WeightMGD":
        check_plain(self.learning_rate, self.optimizer)
        return self

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> WeightState:
        theta = space.confine(parameters, self.code.peak() * space.amplitude(self.delta))
        return WeightState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            reference=jnp.zeros((), theta.dtype),
            optimizer=self._optax().init(theta),
            calibration=Calibration.empty() if self.learning_rate == "auto" else (),
            size=() if self.outliers is None else Size.empty(),
            space=space,
        )

    def _optax(self) -> optax.GradientTransformation:
        eta = self.learning_rate
        return self.optimizer.build(1.0 if isinstance(eta, str) else eta)

    def ask(self, state: WeightState) -> tuple[Probe, WeightState]:
        tick, part = state.clock.tick, state.clock.part
        space = state.space
        p = space.amplitude(self.delta) * self.code(state.key, tick // self.tau_p, space.size)
        side = 1 - 2 * part if self.pairs == "central" else part
        parameters = space.snap(space.snap(state.theta) + side * p)
        batch_index = tick // self.tau_x
        if isinstance(state.calibration, Calibration):
            trial, side = part > LAST, part - LAST - 1
            batch_index = batch_index + trial
            step = calibration.ahead(state.calibration, side) * state.gradient / self.tau_theta
            there = space.snap(self._confine(space, state.theta - step))
            parameters = jnp.where(trial, there, parameters)
        probe = Probe(
            clock=state.clock,
            parameters=parameters,
            updated=(tick % self.tau_theta == 0) & (tick > 0) & (part == 0),
            batch_index=batch_index,
        )
        return probe, eqx.tree_at(lambda s: s.clock, state, self._after(state.clock))

    def _first(self, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The part that a tick begins with: 0, unless the baseline C(θ) is still good."""
        if self.pairs == "central":
            return jnp.zeros((), jnp.int32)
        stale = (tick % self.tau_x == 0) | (tick % self.tau_theta == 0)
        first: Int[Array, ""] = jnp.where(stale, 0, 1).astype(jnp.int32)
        return first

    def _after(self, clock: Clock) -> Clock:
        over = clock.part == self._last(clock.tick)
        tick = clock.tick + over.astype(jnp.int32)
        part = jnp.where(over, self._first(tick), clock.part + 1)
        return Clock(tick=tick, part=part.astype(jnp.int32))

    def _last(self, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The last part of a tick, that of a trial included."""
        if self.learning_rate != "auto":
            return jnp.asarray(LAST, jnp.int32)
        on_trial = calibration.on_trial(tick, self.tau_theta)
        last: Int[Array, ""] = LAST + calibration.TRIAL * on_trial.astype(jnp.int32)
        return last

    def tell(
        self, state: WeightState, probe: Probe, measurement: Measurement
    ) -> tuple[WeightState, Info]:
        cost, space = measurement.cost, state.space
        tick, part = probe.clock.tick, probe.clock.part
        first = part == 0
        reference = jnp.where(first, cost, state.reference)
        theta = space.snap(state.theta)
        if self.pairs == "central":
            change, p = (reference - cost) / 2, theta - probe.theta
        else:
            change, p = cost - reference, probe.theta - theta
        change, size = clipped(state.size, change, self.outliers)
        size = unless(part != LAST, size, state.size)
        scale = self.code.power(space.size) * space.amplitude(self.delta) ** 2
        gradient = state.gradient + jnp.where(part == LAST, change, 0.0) * p / scale

        estimate = gradient / self.tau_theta
        full = (tick + 1) % self.tau_theta == 0
        now = state.calibration
        if isinstance(now, Calibration):
            now = self._calibrated(now, tick, part, estimate, cost, reference)
        due = full & (part == self._last(tick))
        theta, gradient, optimizer = jax.lax.cond(
            due,
            lambda: self._update(state, estimate, now),
            lambda: (state.theta, gradient, state.optimizer),
        )
        after = WeightState(
            state.clock, state.key, theta, gradient, reference, optimizer, now, size, space
        )
        return after, Info(updated=due, estimate=estimate)

    def _calibrated(
        self,
        now: Calibration,
        tick: Int[Array, ""],
        part: Int[Array, ""],
        estimate: Float[Array, " P"],
        cost: Float[Array, ""],
        reference: Float[Array, ""],
    ) -> Calibration:
        """The calibration after a measurement: an estimate's last, or one of a trial."""
        spread = growth(self.code.kappa(estimate.size), float(self.tau_theta))
        complete = (part == LAST) & ((tick + 1) % self.tau_theta == 0)
        after: Calibration = jax.lax.switch(
            complete + 2 * (part > LAST),
            [
                lambda: now,
                lambda: calibration.proposed(now, estimate, reference, spread),
                lambda: calibration.tried(now, part - LAST - 1, cost),
            ],
        )
        return after

    def _update(
        self, state: WeightState, estimate: Float[Array, " P"], now: Calibration | tuple[()]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"], Any]:
        updates, optimizer = self._optax().update(estimate, state.optimizer, state.theta)
        if isinstance(now, Calibration):
            updates = now.step() * updates
        theta = self._confine(state.space, optax.apply_updates(state.theta, updates))
        return theta, jnp.zeros_like(theta), optimizer

    def _confine(self, space: Space, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        return space.confine(theta, self.code.peak() * space.amplitude(self.delta))

    def parameters(self, state: WeightState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def retry(self, clock: Clock) -> Clock:
        first = jnp.where(clock.part > LAST, LAST + 1, 0)
        return Clock(tick=clock.tick, part=first.astype(jnp.int32))

    def lookahead(self, space: Space, clock: Clock) -> int:
        del space
        tick, part = int(clock.tick), int(clock.part)
        if part > LAST:
            return LAST + calibration.TRIAL + 1 - part
        left = self.tau_theta - tick % self.tau_theta
        if self.pairs == "central":
            return 2 * left - part
        later = range(tick + 1, tick + min(left, MOST_LOOKAHEAD))
        return 2 - part + len(later) + sum(t % self.tau_x == 0 for t in later)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        return [
            *warn_of_dac_step(space, self.delta),
            *warn_of_bounds(space, self.delta * self.code.peak()),
            *warn_of_float(self.delta),
            *warn_of_periods(
                {"tau_p": self.tau_p, "tau_x": self.tau_x, "tau_theta": self.tau_theta},
                measurements,
            ),
            *warn_of_code(self.code, self.tau_p, space, measurements),
        ]


LAST = 1
"""The last part of a tick without a trial."""

MOST_LOOKAHEAD = 1024
"""No loop asks for more probes at once than this."""


def warn_of_dac_step(space: Space, delta: float) -> list[str]:
    """A perturbation below one DAC step, which cannot be written as asked."""
    step = max((parameter.step for parameter in space.parameters), default=0.0)
    if delta >= step:
        return []
    return [
        f"delta = {delta:g} is under one DAC step of {step:.3g}: whole steps are written instead, "
        f"one at the least; set delta to {step:.3g} or more."
    ]


def warn_of_bounds(space: Space, reach: float) -> list[str]:
    """A perturbation that leaves no room between the bounds."""
    room = min(parameter.high - parameter.low for parameter in space.parameters)
    if 4 * reach <= room:
        return []
    return [
        f"Perturbations reach {reach:.3g} either way in a range of {room:.3g}: little of it is "
        "left to train in; set a smaller delta."
    ]


def warn_of_float(delta: float) -> list[str]:
    """A perturbation that drowns in single precision."""
    if delta >= 1e-5:
        return []
    return [
        f"delta = {delta:g} moves a cost by less than single precision resolves; set delta to "
        "1e-4 or more, or run with JAX_ENABLE_X64=1."
    ]


def warn_of_periods(periods: dict[str, int], measurements: int | None) -> list[str]:
    """Periods that the run does not last for."""
    return [
        f"{name} = {ticks} is longer than the run of {measurements} measurements: "
        + ("no update happens" if name == "tau_theta" else "only one is used")
        + f"; set {name} well below it."
        for name, ticks in periods.items()
        if measurements is not None and ticks > 1 and ticks > measurements
    ]


def warn_of_code(code: AnyCode, tau_p: int, space: Space, measurements: int | None) -> list[str]:
    """A code that the run does not see the end of."""
    cycle = code.cycle(space.size)
    if cycle is None or measurements is None or cycle * tau_p <= measurements:
        return []
    return [
        f"One cycle of the {code.kind} code for {space.size} parameters takes {cycle * tau_p} "
        f"perturbations, more than the run of {measurements} measurements; use the rademacher "
        "code or a longer run."
    ]
