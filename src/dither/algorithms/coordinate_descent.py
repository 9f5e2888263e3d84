"""Coordinate descent on Boolean and ternary parameters, one mirror after the other."""

from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field, model_validator

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.selection import AnySelection, Cyclic, Memory
from dither.contract import Clock, Measurement, Probe, Problem, Space, SparseWrite


class Falls(eqx.Module):
    """The decreases of the error measured so far for the present move.

    Attributes: `count`; `mean`; `spread`, the sum of squared deviations from it.
    """

    count: Int[Array, ""]
    mean: Float[Array, ""]
    spread: Float[Array, ""]

    def and_one(self, fall: Float[Array, ""]) -> "Falls":
        """The falls with one more, by Welford's recursion."""
        count, off = self.count + 1, fall - self.mean
        mean = self.mean + off / count
        return Falls(count, mean, self.spread + off * (fall - mean))

    def clear(self, significance: float) -> Bool[Array, ""]:
        """Whether there are at least two and the mean exceeds that many of its standard errors."""
        variance = self.spread / jnp.maximum(self.count - 1, 1) / self.count
        return (self.count >= 2) & (jnp.abs(self.mean) > significance * jnp.sqrt(variance))


class CoordinateDescentState(eqx.Module):
    """The state of coordinate descent.

    Attributes: `theta`, the accepted weights; `error`, their last measured error, and `first`, that
    at the start; `undo`, the write that restores theta; `kept`, whether the last measurement
    changed theta; `falls`, of the present move; `tests`, of moves so far; `memory`, of the
    selection.
    """

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " N"]
    error: Float[Array, ""]
    first: Float[Array, ""]
    undo: SparseWrite
    kept: Bool[Array, ""]
    falls: Falls
    tests: Int[Array, ""]
    memory: Memory
    problem: Problem = eqx.field(static=True)


class CoordinateDescent(AbstractAlgorithm):
    """Flip a mirror, measure, and keep the flip if the error fell; otherwise undo it.

    ```
    keep the move if E(w) − E(w') > 0;   annealed: with probability min(1, exp((E(w) − E(w'))/τ))
    ```

    Moves of `flips` mirrors at once shrink to one, and τ to 0, linearly over `cooling` sweeps of N
    tests. A mirror with more than two settings moves to a random other setting.

    Arguments:
        selection: which mirror to test: `uniform`, `greedy`, `cyclic`, `amplitude-weighted`,
            `priority`; further mirrors of the same move are drawn uniformly.
        decision: the reference for the error after the flip. `keep`: the error when the weights
            were last changed, one measurement per test; `remeasure`: the error of the weights,
            measured again, two measurements per test; `significant`: pairs of both, until the mean
            difference exceeds `significance` standard errors or `repeats` is reached.
        repeats: the maximum number of pairs, ≥ 2; significance: in standard errors, ≥ 0, estimated
            from the pairs so far: a heuristic for few pairs, not a test at a fixed level.
        flips: mirrors per move at the start, ≥ 1.
        temperature: initial τ in units of the initial error, ≥ 0.
        cooling: duration of the cooling in sweeps, ≥ 0.
        on: the share of mirrors that start at their highest setting, the others at 0; None for the
            device's own start. A sparse start, 0.05, suits `priority`.

    Source: Andreoli2020 and Andreoli2023 for greedy and uniform, Skalli2025a for ternary weights
    and annealing; the rest is our own.
    """

    kind: Literal["coordinate-descent"] = "coordinate-descent"
    sparse: ClassVar[bool] = True
    selection: AnySelection = Cyclic()
    decision: Literal["keep", "remeasure", "significant"] = "keep"
    repeats: Annotated[int, Field(ge=2)] = 8
    significance: Annotated[float, Field(ge=0)] = 2.0
    flips: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    cooling: Annotated[float, Field(ge=0)] = 0.0
    on: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _cools(self) -> "CoordinateDescent":
        if self.cooling == 0 and (self.flips > 1 or self.temperature > 0):
            raise ValueError("flips above 1 and a temperature need a cooling, in sweeps")
        return self

    def check(self, problem: Problem) -> None:
        for parameter in problem.space.parameters:
            if not parameter.levels:
                raise RequestError(
                    f"The algorithm {self.kind} needs Boolean or ternary parameters, but "
                    f"'{parameter.name}' is continuous; use another algorithm, or a device with "
                    "levels."
                )

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> CoordinateDescentState:
        space = problem.space
        if self.on is not None:
            lit = jax.random.bernoulli(jax.random.fold_in(key, 2**31), self.on, (space.size,))
            parameters = jnp.where(lit, space.high, 0.0).astype(parameters.dtype)
        theta = space.snap(parameters)
        zero = jnp.zeros((), theta.dtype)
        nothing = jnp.full(self.flips, space.size, jnp.int32)
        return CoordinateDescentState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            error=zero,
            first=zero,
            undo=SparseWrite(nothing, jnp.zeros(self.flips, theta.dtype)),
            kept=jnp.bool_(False),
            falls=_no_falls(zero),
            tests=jnp.int32(0),
            memory=self.selection.init(space.size),
            problem=problem,
        )

    def ask(self, state: CoordinateDescentState) -> tuple[Probe, CoordinateDescentState]:
        tick, undo, space = state.clock.tick, state.undo, state.problem.space
        move = self._move(state)
        here = jnp.where(self._refers(tick), space.size, move.places)
        again = jnp.any(undo.places[:, None] == here, axis=1)
        probe = Probe(
            clock=state.clock,
            parameters=SparseWrite(
                places=jnp.concatenate([jnp.where(again, space.size, undo.places), here]),
                values=jnp.concatenate([undo.values, move.values]),
            ),
            updated=state.kept,
            batch_index=tick,
        )
        after = Clock(tick=tick + 1, part=state.clock.part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: CoordinateDescentState, probe: Probe, measurement: Measurement
    ) -> tuple[CoordinateDescentState, Info]:
        tick, cost, N = probe.clock.tick, measurement.cost, state.problem.space.size
        refers = self._refers(tick)
        places, values = (a[self.flips :] for a in (probe.sparse.places, probe.sparse.values))

        falls = state.falls.and_one(state.error - cost)
        decided = ~refers & self._decided(falls)
        kept = decided & (falls.mean > -self._luck(state))
        after = CoordinateDescentState(
            clock=state.clock,
            key=state.key,
            theta=SparseWrite(jnp.where(kept, places, N), values).into(state.theta),
            error=jnp.where(refers, cost, jnp.where(kept, state.error - falls.mean, state.error)),
            first=jnp.where((tick == 0) & (state.tests == 0), measurement.whole_cost, state.first),
            undo=SparseWrite(
                jnp.where(kept, N, places),
                state.theta.at[places].get(mode="fill", fill_value=0),
            ),
            kept=kept,
            falls=jax.tree.map(
                lambda old, new: jnp.where(
                    refers, old, jnp.where(decided, 0, new).astype(new.dtype)
                ),
                state.falls,
                falls,
            ),
            tests=state.tests + decided,
            memory=self._learn(state, decided, places[0], falls.mean, kept),
            problem=state.problem,
        )
        return after, Info(kept)

    def on_drift(self, state: CoordinateDescentState) -> CoordinateDescentState:
        # as at the start: the accepted weights are measured first, and earlier falls are dropped
        fresh = (Clock(tick=jnp.int32(0), part=jnp.int32(0)), _no_falls(state.error))
        afresh: CoordinateDescentState = eqx.tree_at(lambda s: (s.clock, s.falls), state, fresh)
        return afresh

    def parameters(self, state: CoordinateDescentState) -> Float[Array, " P"]:
        return state.theta

    def _refers(self, tick: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the accepted weights themselves are measured."""
        return (tick if self.decision == "keep" else tick % 2) == 0

    def _decided(self, falls: Falls) -> Bool[Array, ""]:
        if self.decision != "significant":
            return jnp.asarray(True)
        return (falls.count >= self.repeats) | falls.clear(self.significance)

    def _luck(self, state: CoordinateDescentState) -> Float[Array, ""]:
        """The accepted rise of the error: exponentially distributed with mean τ."""
        if self.temperature == 0:
            return jnp.zeros((), state.theta.dtype)
        tau = self.temperature * self._share(state) * state.first
        key = jax.random.fold_in(self._key(state), 1)
        return tau * jax.random.exponential(key, (), state.theta.dtype)

    def _learn(
        self,
        state: CoordinateDescentState,
        decided: Bool[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> Memory:
        def learn(memory: Memory) -> Memory:
            return self.selection.learn(memory, self._key(state), place, fall, kept)

        memory: Memory = jax.lax.cond(decided, learn, lambda memory: memory, state.memory)
        return memory

    def _key(self, state: CoordinateDescentState) -> Key[Array, ""]:
        return jax.random.fold_in(state.key, state.tests)

    def _share(self, state: CoordinateDescentState) -> Float[Array, ""]:
        """The remaining share of temperature and extra flips, from 1 to 0."""
        if self.cooling == 0:
            return jnp.zeros((), state.theta.dtype)
        end = self.cooling * state.problem.space.size
        # in compiled code, a quotient of equal numbers is not always 1
        left = jnp.where(state.tests < end, 1 - state.tests / end, 0.0)
        return left.astype(state.theta.dtype)

    def _move(self, state: CoordinateDescentState) -> SparseWrite:
        """The move under test: its mirrors and their new settings."""
        key, space, size = self._key(state), state.problem.space, state.problem.space.size
        places = self.selection.choose(state.memory, key)[None].astype(jnp.int32)
        if self.flips > 1:
            shape = (self.flips - 1,)
            others = jax.random.randint(jax.random.fold_in(key, 2), shape, 0, size, jnp.int32)
            number = jnp.arange(1, self.flips)
            wanted = jnp.ceil((self.flips - 1) * self._share(state))
            places = jnp.concatenate([places, jnp.where(number <= wanted, others, size)])
            twice = jnp.triu(places[:, None] == places, k=1).any(axis=0)
            places = jnp.where(twice, size, places)
        return SparseWrite(places, _other(jax.random.fold_in(key, 3), state.theta, places, space))


def _other(
    key: Key[Array, ""], theta: Float[Array, " N"], places: Int[Array, " K"], space: Space
) -> Float[Array, " K"]:
    """Another setting of each mirror, drawn uniformly; for two settings, the other one."""
    known = jnp.minimum(places, space.size - 1)
    now = theta[known]
    low, high, step = (
        jnp.asarray(b, theta.dtype) if np.ndim(b) == 0 else jnp.asarray(b, theta.dtype)[known]
        for b in (space.low, space.high, space.step)
    )
    if all(parameter.levels == 2 for parameter in space.parameters):
        return jnp.where(now > 0.5 * (low + high), low, high)
    levels = 1 + jnp.round((high - low) / step).astype(jnp.int32)
    further = jax.random.randint(key, places.shape, 1, levels)
    level = (jnp.round((now - low) / step).astype(jnp.int32) + further) % levels
    return low + level * step


def _no_falls(like: Float[Array, ""]) -> Falls:
    return Falls(jnp.int32(0), jnp.zeros_like(like), jnp.zeros_like(like))


def _choose(which: Bool[Array, ""], yes: Falls, no: Falls) -> Falls:
    chosen: Falls = jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)
    return chosen
