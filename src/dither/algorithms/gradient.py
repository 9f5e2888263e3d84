"""The driver of all rules that average gradient estimates."""

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field, model_validator

from dither.algorithms import calibration, traps
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.calibration import Calibration
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.outliers import Size, clipped, unless
from dither.algorithms.timetable import Timetable, counted
from dither.algorithms.updates import AnyUpdate, Descent
from dither.contract import Clock, Measurement, Probe, Problem

OF_UPDATE = 1 << 31
"""The number folded into the rule's key to get the update's key; no tick has it."""


class AbstractGradientRule(AbstractAlgorithm):
    """Perturb, measure, correlate, average over tau_theta ticks, update.

    ```
    every perturbed measurement:   G ← G + estimate(ΔC, perturbation)
    every tau_theta ticks:         θ ← θ − eta M(G / tau_theta)  (or an Optax update),   G ← 0
    ```

    The driver handles the clock, pairs, retries, lookahead, outliers, the rate `auto`, drift and
    bounds. A rule provides an *estimator*: `perturb`, the perturbation, `estimate`, its correlation
    with the change of the cost, and optionally `learn`, its memory, and `precondition`, M. The
    `update` defines the use of the estimate and the place of the next measurement.

    Arguments:
        tau_x, tau_theta: ticks between new batches, updates; ≥ 1. A tick perturbs everything once.
        optimizer: any Optax optimiser.
        update: `descent`, or an update that also measures away from θ.
        outliers: clipping threshold for changes of the cost, in units of their running mean
            magnitude; > 0, such as 5; None for no clipping.
    """

    exact: ClassVar[bool] = False
    """Whether a measurement gives the gradient, so that nothing is perturbed."""
    per_example_costs: ClassVar[bool] = False
    """Whether the cost of each example is correlated, instead of the cost of the batch."""

    tau_x: Annotated[int, Field(ge=1)] = 1
    tau_theta: Annotated[int, Field(ge=1)] = 1
    optimizer: AnyOptimizer = Optimizer()
    update: AnyUpdate = Descent()
    outliers: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _settings_fit(self) -> "AbstractGradientRule":
        plain = self.optimizer.name == "sgd" and not self.optimizer.settings
        if isinstance(self.rate, str) and not (plain and self.update.descends):
            raise ValueError(
                "learning_rate auto is for plain descent; give a number, or the optimizer sgd "
                "without settings and the update descent"
            )
        if self.exact and self.outliers is not None:
            raise ValueError("outliers clips changes of the cost, which this rule does not measure")
        return self

    @property
    @abstractmethod
    def rate(self) -> float | Float[Array, "..."] | str:
        """eta ≥ 0: one for all parameters, one for each, or `auto`."""

    @property
    def central(self) -> bool:
        """Whether two opposite perturbations are compared, instead of one with θ."""
        return False

    def turns(self, problem: Problem) -> int:
        """The number of successive perturbations within a tick."""
        del problem
        return 1

    def periods(self, problem: Problem) -> tuple[int, int]:
        """tau_x and tau_theta in ticks."""
        del problem
        return self.tau_x, self.tau_theta

    def reach(self, problem: Problem) -> Float[Array, "..."]:
        """The largest perturbation of the parameters; θ keeps that distance from the bounds."""
        del problem
        return jnp.zeros(())

    def remember(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Any:
        """The rule's initial memory."""
        del key, theta, problem
        return ()

    @abstractmethod
    def perturb(
        self, state: GradientState, at: At
    ) -> tuple[Float[Array, " P"], dict[str, Array] | None]:
        """The values to program and the perturbations at the sites, at the time `state.clock`."""

    @abstractmethod
    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """The gradient estimate from a change of the cost; unbiased after summing all turns."""

    def costs(self, state: GradientState, measurement: Measurement) -> Float[Array, "..."]:
        """The costs whose changes are correlated: of the batch, or of each example."""
        del state
        return measurement.sites.costs if self.per_example_costs else measurement.cost

    def costs_shape(self, problem: Problem) -> tuple[int, ...]:
        """The shape of `costs`."""
        return (problem.batch,) if self.per_example_costs else ()

    def learn(self, state: GradientState, told: Told) -> Any:
        """The rule's memory after a measurement other than a trial."""
        del told
        return state.memory

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        """M: the step direction from the averaged estimate."""
        del state
        return estimate

    def renewed(self, state: GradientState, updated: Bool[Array, ""]) -> Any:
        """The rule's memory at the start of the next update."""
        del updated
        return state.memory

    def spread(self, problem: Problem) -> float | None:
        """`√(E|G|² / |g|²)` of the averaged estimate for the rate `auto`; None if unknown."""
        del problem
        return None

    def times(self, problem: Problem) -> Timetable:
        """The order of the measurements."""
        tau_x, tau_theta = map(counted, self.periods(problem))
        turns, tries = self.turns(problem), isinstance(self.rate, str)
        shared = self.update.shared
        return Timetable(turns, self.central, self.exact, tau_x, tau_theta, tries, shared)

    def _drawn(self, state: GradientState) -> GradientState:
        """The state at the clock that determines its batch and perturbations."""
        return replace(state, clock=self.times(state.problem).drawn(state.clock))

    def check(self, problem: Problem) -> None:
        super().check(problem)
        self.update.check(problem, *self.periods(problem))

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> GradientState:
        theta = problem.space.confine(parameters, self.reach(problem))
        return GradientState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            reference=jnp.zeros(() if self.exact else self.costs_shape(problem), theta.dtype),
            referred=jnp.int32(-1),
            optimizer=self._optax().init(theta),
            calibration=Calibration.empty() if isinstance(self.rate, str) else (),
            size=() if self.outliers is None else Size.empty(),
            memory=self.remember(key, theta, problem),
            update=self.update.init(jax.random.fold_in(key, OF_UPDATE), theta, problem),
            problem=problem,
        )

    def _optax(self) -> optax.GradientTransformation:
        return self.optimizer.build(1.0 if isinstance(self.rate, str) else self.rate)

    def _point(self, state: GradientState) -> Float[Array, " P"]:
        """The measured θ, on the device's grid."""
        space, point = state.problem.space, self.update.point(state.update, state.theta)
        if point is not state.theta:
            point = space.confine(point, self.reach(state.problem))
        return space.snap(point)

    def ask(self, state: GradientState) -> tuple[Probe, GradientState]:
        (tick, part), problem = (state.clock.tick, state.clock.part), state.problem
        times, space = self.times(problem), problem.space
        drawn = self._drawn(state)
        parameters, sites = self.perturb(drawn, At(self._point(state), *times.perturbed(part)))
        begins = (tick % times.tau_theta == 0) & (part == 0)
        weights_perturbed = sites is None and not self.exact
        changed: Bool[Array, ""] | bool = weights_perturbed or begins
        batch_index = self.update.batch_index(state.update, drawn.clock.tick // times.tau_x)
        if isinstance(state.calibration, Calibration):
            trial = times.on_trial(part)
            batch_index = batch_index + trial
            ahead = calibration.ahead(state.calibration, times.trial(part))
            step = ahead * self.precondition(state, state.gradient / times.tau_theta)
            there = space.snap(space.confine(state.theta - step, self.reach(problem)))
            parameters = jnp.where(trial, there, parameters)
            changed = weights_perturbed or begins | trial
            if sites is not None:
                sites = {site: jnp.where(trial, 0.0, added) for site, added in sites.items()}
        probe = Probe(
            clock=state.clock,
            parameters=parameters,
            updated=begins & (tick > 0),
            batch_index=batch_index,
            sites=sites,
            changed=changed,
        )
        return probe, eqx.tree_at(lambda s: s.clock, state, times.after(state.clock))

    def tell(
        self, state: GradientState, probe: Probe, measurement: Measurement
    ) -> tuple[GradientState, Info]:
        asked, times = state.clock, self.times(state.problem)
        state = replace(state, clock=probe.clock)
        tick, part = probe.clock.tick, probe.clock.part
        refers, trial = times.refers(part), times.on_trial(part)
        costs = self.costs(state, measurement)
        change = (costs - state.reference) / (2 if self.central else 1)
        change, size = clipped(state.size, change, self.outliers)
        due_at = times.reference(tick)
        again = refers & (due_at == state.referred)
        told = Told(self._point(state), probe, measurement, change, refers, again)
        state = replace(
            state,
            reference=jnp.where(refers, costs, state.reference),
            referred=jnp.where(refers, due_at, state.referred),
            size=unless(refers | trial, size, state.size),
        )
        if times.at_once:
            state, due = replace(state, memory=self.learn(self._drawn(state), told)), ~refers
            estimate = state.gradient
        else:
            due = times.closes(tick) & (part == times.last(tick))
            gradient, memory = self._averaged(state, told, trial if times.tries else None)
            state = replace(state, gradient=gradient, memory=memory)
            estimate = gradient / times.tau_theta
            if isinstance(now := state.calibration, Calibration):
                now = self._calibrated(state, now, measurement, estimate)
                state = replace(state, calibration=now)

        def updated() -> tuple[Any, ...]:
            now = self.estimate(self._drawn(state), told) if times.at_once else estimate
            return now, *self._updated(state, now)

        estimate, theta, gradient, optimizer, update = jax.lax.cond(
            due,
            updated,
            lambda: (estimate, state.theta, state.gradient, state.optimizer, state.update),
        )
        after = replace(
            state,
            clock=asked,
            theta=theta,
            gradient=gradient,
            optimizer=optimizer,
            memory=self.renewed(state, due & times.last_drawn(tick)),
            update=update,
        )
        return after, Info(updated=due, estimate=estimate)

    def _averaged(
        self, state: GradientState, told: Told, trial: Bool[Array, ""] | None
    ) -> tuple[Float[Array, " P"], Any]:
        """The sum of the estimates and the rule's memory, both unchanged by a trial."""
        drawn = self._drawn(state)

        def averaged() -> tuple[Float[Array, " P"], Any]:
            gradient = jax.lax.cond(
                told.refers,
                lambda: state.gradient,
                lambda: state.gradient + self.estimate(drawn, told),
            )
            return gradient, self.learn(drawn, told)

        if trial is None:
            return averaged()
        now: tuple[Float[Array, " P"], Any] = jax.lax.cond(
            trial, lambda: (state.gradient, state.memory), averaged
        )
        return now

    def _calibrated(
        self,
        state: GradientState,
        now: Calibration,
        measurement: Measurement,
        estimate: Float[Array, " P"],
    ) -> Calibration:
        """The calibration after the last measurement of an estimate, or one of a trial."""
        times, tick, part = self.times(state.problem), state.clock.tick, state.clock.part
        cost = measurement.cost if self.exact else jnp.mean(state.reference)
        short = None
        if state.problem.least is None:
            short = jnp.linalg.norm(jnp.broadcast_to(self.reach(state.problem), estimate.shape))
        else:
            cost = cost - state.problem.least
        direction, spread = self.precondition(state, estimate), self.spread(state.problem)
        complete = times.closes(tick) & (part == times.last_perturbed)
        asked = complete + 2 * times.on_trial(part), times.trial(part), measurement.cost
        return calibration.told(now, direction, cost, spread, short, *asked)

    def _updated(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"], Any, Any]:
        """θ after an update by the averaged estimate, a zero sum, and the new states."""
        problem = state.problem

        def descend(
            theta: Float[Array, " P"], direction: Float[Array, " P"], optimizer: Any
        ) -> tuple[Float[Array, " P"], Any]:
            updates, optimizer = self._optax().update(direction, optimizer, theta)
            if isinstance(state.calibration, Calibration):
                updates = state.calibration.step() * updates
            moved = optax.apply_updates(theta, updates)
            return problem.space.confine(moved, self.reach(problem)), optimizer

        told = self.precondition(self._drawn(state), estimate), state.optimizer
        theta, optimizer, update = self.update.step(state.update, state.theta, *told, descend)
        none = state.gradient if self.times(problem).at_once else jnp.zeros_like(theta)
        return theta, none, optimizer, update

    def parameters(self, state: GradientState) -> Float[Array, " P"]:
        return state.problem.space.snap(state.theta)

    def lookahead(self, problem: Problem, clock: Clock) -> int:
        return self.times(problem).lookahead(clock)

    def retry(self, problem: Problem, clock: Clock) -> Clock:
        return self.times(problem).retry(clock)

    def on_drift(self, state: GradientState) -> GradientState:
        """The state with the present pair restarted; with several turns, the whole estimate."""
        clock, times = state.clock, self.times(state.problem)
        if self.turns(state.problem) == 1 or self.central:
            return replace(state, clock=times.retry(clock))
        begun = Clock(tick=clock.tick - clock.tick % times.tau_theta, part=clock.part * 0)
        return replace(state, clock=begun, gradient=jnp.zeros_like(state.gradient))

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        due = self.times(problem).until_update() * self.update.estimates
        first = traps.of_first_update(due, measurements)
        return [*traps.of_periods({"tau_x": self.periods(problem)[0]}, measurements), *first]
