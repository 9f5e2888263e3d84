"""Coordinate descent on Boolean and ternary parameters: one mirror after the other."""

from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field, model_validator

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.selection import AnySelection, Cyclic, Memory
from dither.devices.device import Clock, Measurement, Probe, SparseWrite
from dither.devices.space import Space


class Pairs(eqx.Module):
    """The differences of error, reference minus flipped, measured for the present move.

    Attributes: `reference`, the last measured error of the kept weights; `count`, `mean`, `spread`
    (the sum of squared deviations) of the differences.
    """

    reference: Float[Array, ""]
    count: Int[Array, ""]
    mean: Float[Array, ""]
    spread: Float[Array, ""]


class CoordinateDescentState(eqx.Module):
    """Where coordinate descent stands.

    Attributes: `theta`, the weights kept; `error`, theirs as last known, and `first`, that at the
    start; `undo`, what brings the device back to theta; `tests`, of moves so far; `memory`, of the
    selection.
    """

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " N"]
    error: Float[Array, ""]
    first: Float[Array, ""]
    undo: SparseWrite
    pairs: Pairs
    tests: Int[Array, ""]
    memory: Memory
    space: Space = eqx.field(static=True)


class CoordinateDescent(AbstractAlgorithm):
    """Flip a mirror, measure, keep the flip if the error fell, else undo it.

    ```
    keep the move if E(w) − E(w') > 0;   annealed: with probability min(1, exp((E(w) − E(w'))/τ))
    ```

    Moves of `flips` mirrors at once shrink to one, and τ to 0, linearly over `cooling` sweeps of N
    tests. A mirror of more than two settings is given one of its others, drawn at random.

    Arguments:
        selection: which mirror to test: `uniform`, `greedy`, `cyclic`, `amplitude-weighted`,
            `priority`; further ones of the same move are drawn uniformly.
        decision: what the error after the flip is compared with. `keep`: the error when the weights
            were last changed, one measurement a test; `remeasure`: that of the weights measured
            again, two a test; `significant`: pairs of both, until the mean difference exceeds
            `significance` standard errors or there are `repeats` of them.
        repeats: the most pairs, ≥ 2; significance: in standard errors, ≥ 0.
        flips: mirrors in the first moves, ≥ 1.
        temperature: first τ in units of the error at the start, ≥ 0.
        cooling: sweeps, ≥ 0.

    Source: Andreoli2020 and Andreoli2023 for greedy and uniform, Skalli2025a for ternary weights
    and annealing; the rest is ours.
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

    @model_validator(mode="after")
    def _cools(self) -> "CoordinateDescent":
        if self.cooling == 0 and (self.flips > 1 or self.temperature > 0):
            raise ValueError("flips above 1 and a temperature need a cooling, in sweeps")
        return self

    def check_space(self, space: Space) -> None:
        for parameter in space.parameters:
            if not parameter.levels:
                raise RequestError(
                    f"The algorithm {self.kind} needs Boolean or ternary parameters, and "
                    f"'{parameter.name}' is continuous; take another algorithm, or a device with "
                    "levels."
                )

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> CoordinateDescentState:
        theta = space.snap(parameters)
        zero = jnp.zeros((), theta.dtype)
        return CoordinateDescentState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            error=zero,
            first=zero,
            undo=_nothing(self.flips, space, theta.dtype),
            pairs=_no_pairs(zero),
            tests=jnp.int32(0),
            memory=self.selection.init(space.size),
            space=space,
        )

    def ask(self, state: CoordinateDescentState) -> tuple[Probe, CoordinateDescentState]:
        tick, undo, space = state.clock.tick, state.undo, state.space
        move = self._move(state)
        here = jnp.where(self._refers(tick), space.size, move.places)
        again = jnp.any(undo.places[:, None] == here, axis=1)
        probe = Probe(
            clock=state.clock,
            parameters=SparseWrite(
                places=jnp.concatenate([jnp.where(again, space.size, undo.places), here]),
                values=jnp.concatenate([undo.values, move.values]),
            ),
            updated=jnp.all(undo.places == space.size) & (tick > 0),
            draw=tick,
        )
        after = Clock(tick=tick + 1, part=state.clock.part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: CoordinateDescentState, probe: Probe, measurement: Measurement
    ) -> tuple[CoordinateDescentState, Info]:
        tick, cost, theta = probe.clock.tick, measurement.cost, state.theta
        refers = self._refers(tick)
        key, move = self._key(state), self._move(state)
        nothing = _nothing(self.flips, state.space, theta.dtype)

        reference = state.error if self.decision == "keep" else state.pairs.reference
        pairs = _one_more(state.pairs, reference - cost)
        fall = pairs.mean
        tau = self.temperature * self._share(state) * state.first
        luck = -jnp.log(jax.random.uniform(jax.random.fold_in(key, 1), (), theta.dtype))
        kept = ~refers & (fall > -tau * luck)
        decided = ~refers & self._decided(pairs)
        kept = kept & decided

        theta = jnp.where(kept, move.into(theta), theta)
        # after several pairs the kept weights' error is the reference's less the mean fall
        error = cost if self.decision != "significant" else reference - fall
        error = jnp.where(refers, cost, jnp.where(kept, error, reference))
        old = SparseWrite(move.places, state.theta.at[move.places].get(mode="fill", fill_value=0))
        undo = _choose(refers | kept, nothing, old)
        learnt = self.selection.learn(state.memory, key, move.places[0], fall, kept)
        memory = _choose(decided, learnt, state.memory)
        held = _choose(decided, _no_pairs(cost), pairs)
        held = _choose(refers, state.pairs, held)
        held = eqx.tree_at(lambda p: p.reference, held, jnp.where(refers, cost, reference))
        after = CoordinateDescentState(
            clock=state.clock,
            key=state.key,
            theta=theta,
            error=error,
            first=jnp.where(tick == 0, cost, state.first),
            undo=undo,
            pairs=held,
            tests=state.tests + decided,
            memory=memory,
            space=state.space,
        )
        return after, Info(kept)

    def parameters(self, state: CoordinateDescentState) -> Float[Array, " P"]:
        return state.theta

    def _refers(self, tick: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the kept weights themselves are measured."""
        return tick == 0 if self.decision == "keep" else tick % 2 == 0

    def _decided(self, pairs: Pairs) -> Bool[Array, ""]:
        if self.decision != "significant":
            return jnp.bool_(True)
        n = pairs.count
        error = jnp.sqrt(pairs.spread / jnp.maximum(n - 1, 1) / n)
        clear = jnp.abs(pairs.mean) > self.significance * error
        return (n >= self.repeats) | ((n >= 2) & clear)

    def _key(self, state: CoordinateDescentState) -> Key[Array, ""]:
        return jax.random.fold_in(state.key, state.tests)

    def _share(self, state: CoordinateDescentState) -> Float[Array, ""]:
        """How much of temperature and extra flips is left, from 1 down to 0."""
        if self.cooling == 0:
            return jnp.zeros((), state.theta.dtype)
        end = self.cooling * state.space.size
        return jnp.maximum(0.0, 1 - state.tests / end).astype(state.theta.dtype)

    def _move(self, state: CoordinateDescentState) -> SparseWrite:
        """The move under test: which mirrors, and their new settings."""
        key, space, size = self._key(state), state.space, state.space.size
        places = self.selection.choose(state.memory, key)[None].astype(jnp.int32)
        if self.flips > 1:
            others = jax.random.randint(jax.random.fold_in(key, 2), (self.flips - 1,), 0, size)
            number = jnp.arange(1, self.flips)
            wanted = jnp.ceil((self.flips - 1) * self._share(state))
            places = jnp.concatenate([places, jnp.where(number <= wanted, others, size)])
            twice = jnp.triu(places[:, None] == places, k=1).any(axis=0)
            places = jnp.where(twice, size, places)
        return SparseWrite(places, _other(jax.random.fold_in(key, 3), state.theta, places, space))


def _other(
    key: Key[Array, ""], theta: Float[Array, " N"], places: Int[Array, " K"], space: Space
) -> Float[Array, " K"]:
    """Another of each place's settings, drawn uniformly; of two, the other."""
    low, step = jnp.asarray(space.low, theta.dtype), jnp.asarray(space.step, theta.dtype)
    levels = 1 + jnp.round((jnp.asarray(space.high, theta.dtype) - low) / step).astype(jnp.int32)
    known = jnp.minimum(places, space.size - 1)
    low, step, levels = (a if a.ndim == 0 else a[known] for a in (low, step, levels))
    now = jnp.round((theta[known] - low) / step).astype(jnp.int32)
    further = jax.random.randint(key, places.shape, 1, jnp.maximum(levels, 2))
    return (low + (now + further) % levels * step).astype(theta.dtype)


def _nothing(flips: int, space: Space, dtype: jnp.dtype) -> SparseWrite:
    return SparseWrite(jnp.full(flips, space.size, jnp.int32), jnp.zeros(flips, dtype))


def _no_pairs(reference: Float[Array, ""]) -> Pairs:
    zero = jnp.zeros((), reference.dtype)
    return Pairs(reference=reference, count=jnp.int32(0), mean=zero, spread=zero)


def _one_more(pairs: Pairs, difference: Float[Array, ""]) -> Pairs:
    """Mean and spread with one difference more, by Welford's recursion."""
    count = pairs.count + 1
    off = difference - pairs.mean
    mean = pairs.mean + off / count
    return Pairs(pairs.reference, count, mean, pairs.spread + off * (difference - mean))


def _choose(which: Bool[Array, ""], yes: Memory, no: Memory) -> Memory:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)
