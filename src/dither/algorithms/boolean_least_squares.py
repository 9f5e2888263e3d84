"""Boolean least squares: learn each mirror's effect, solve off the device, write, verify."""

from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.boolean_search import SWEEPS, solve
from dither.algorithms.coordinate_descent import CoordinateDescent, CoordinateDescentState
from dither.algorithms.readout_columns import flip_columns, group, group_columns, group_count
from dither.contract import AccessLevel, Clock, Measurement, Probe, Problem, Space


class BooleanLeastSquaresState(eqx.Module):
    """The state: the measured outputs, the solved weights, and the descent after that.

    Attributes: `start`, the first weights; `traces`, the outputs of the M patterns; `first`, the
    error of `start`; `found`, the solved weights; `descent`, the state of the coordinate descent.
    """

    clock: Clock
    key: Key[Array, ""]
    start: Float[Array, " N"]
    traces: Float[Array, "M T"]
    first: Float[Array, ""]
    found: Float[Array, " N"]
    descent: CoordinateDescentState
    problem: Problem = eqx.field(static=True)


class BooleanLeastSquares(AbstractAlgorithm):
    """Measure the outputs of M patterns, fit each mirror's column, solve, and verify on the device.

    ```
    y_k = Σ_i w_i(k) x_i,  k = 0 … M − 1;   w = argmin NMSE(Σ_i w_i x_i, t) over Boolean w
    ```

    The patterns flip one mirror each (`flips`, M = N + 1) or Hadamard groups of about half of them
    (`groups`, M the next power of two above N, with M/2 times less noise on a column). The weights
    found by annealing are written and measured. If their error is not below that of the first
    weights, the device is less linear than assumed and the first weights are restored. Coordinate
    descent then continues until the end of the run.

    Arguments: `learn`, `groups` or `flips`; `sweeps` of the annealing, ≥ 1; `then`, the coordinate
    descent.
    Source: derived here, checked by the tests.
    """

    kind: Literal["boolean-least-squares"] = "boolean-least-squares"
    access_level: ClassVar[AccessLevel] = AccessLevel.OUTPUTS
    learn: Literal["groups", "flips"] = "groups"
    sweeps: Annotated[int, Field(ge=1, examples=[2])] = SWEEPS
    then: CoordinateDescent = CoordinateDescent()

    def check(self, problem: Problem) -> None:
        for parameter in problem.space.parameters:
            if (parameter.low, parameter.high, parameter.levels) not in ((0, 1, 2), (-1, 1, 3)):
                raise RequestError(
                    f"The algorithm {self.kind} needs weights in {{0, 1}} or {{−1, 0, 1}}, but "
                    f"'{parameter.name}' has others; use coordinate-descent."
                )

    def patterns(self, space: Space) -> int:
        """M, the number of patterns."""
        return group_count(space.size) if self.learn == "groups" else space.size + 1

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> BooleanLeastSquaresState:
        space = problem.space
        theta = space.snap(parameters)
        return BooleanLeastSquaresState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            start=theta,
            traces=jnp.zeros((self.patterns(space), problem.batch * problem.outputs), theta.dtype),
            first=jnp.zeros((), theta.dtype),
            found=theta,
            descent=self.then.init(jax.random.fold_in(key, 1), theta, problem),
            problem=problem,
        )

    def ask(self, state: BooleanLeastSquaresState) -> tuple[Probe, BooleanLeastSquaresState]:
        tick, M = state.clock.tick, self.patterns(state.problem.space)
        moved = group(tick, state.problem.space.size)
        if self.learn == "flips":
            moved = jnp.arange(state.problem.space.size) == tick - 1
        pattern = jnp.where(
            moved, state.start + _steps(state.start, state.problem.space), state.start
        )
        probe, _ = self.then.ask(self._descent(state))
        going_on = probe.sparse.into(state.descent.theta)
        theta = jnp.select([tick < M, tick == M], [pattern, state.found], going_on)
        probe = Probe(
            clock=state.clock,
            parameters=theta,
            updated=(tick == M) | ((tick > M + 1) & probe.updated),
            batch_index=tick,
        )
        after = Clock(tick=tick + 1, part=state.clock.part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: BooleanLeastSquaresState, probe: Probe, measurement: Measurement
    ) -> tuple[BooleanLeastSquaresState, Info]:
        tick, M = probe.clock.tick, self.patterns(state.problem.space)
        traces = state.traces.at[tick].set(measurement.outputs.y.ravel(), mode="drop")
        target = measurement.outputs.wanted.ravel()
        first = jnp.where(tick == 0, measurement.cost, state.first)

        def search(index: Int[Array, ""], weights: Float[Array, " N"]) -> Float[Array, " N"]:
            levels = state.problem.space.parameters[0].levels
            # made to depend on the index, which is 0: XLA would hoist a loop invariant
            seen = jnp.where(index == 0, traces, 0)
            columns = self._columns(seen, _steps(state.start, state.problem.space))
            return solve(state.key, columns, target, weights, self.sweeps, levels)

        # a loop of zero or one rounds: under vmap, a condition would search at every tick
        due = (tick == M - 1).astype(jnp.int32)
        found = jax.lax.fori_loop(0, due, search, state.found)

        better = jnp.where(measurement.cost < first, state.found, state.start)
        begun = eqx.tree_at(
            lambda d: d.theta, state.descent, jnp.where(tick == M, better, state.descent.theta)
        )
        told, info = self._go_on(state, probe, measurement)
        descent = jax.tree.map(lambda new, old: jnp.where(tick > M, new, old), told, begun)
        after = BooleanLeastSquaresState(
            clock=state.clock,
            key=state.key,
            start=state.start,
            traces=traces,
            first=first,
            found=found,
            descent=descent,
            problem=state.problem,
        )
        return after, Info((tick == M) | ((tick > M) & info.updated))

    def parameters(self, state: BooleanLeastSquaresState) -> Float[Array, " P"]:
        return state.descent.theta

    def _columns(
        self, traces: Float[Array, "M T"], steps: Float[Array, " N"]
    ) -> Float[Array, "N T"]:
        if self.learn == "flips":
            return flip_columns(traces[0], traces[1:], steps)
        return group_columns(traces, steps)

    def _descent(self, state: BooleanLeastSquaresState) -> CoordinateDescentState:
        """The descent's state, with a clock that begins after the verification."""
        tick = jnp.maximum(state.clock.tick - self.patterns(state.problem.space) - 1, 0)
        descent: CoordinateDescentState = eqx.tree_at(lambda d: d.clock.tick, state.descent, tick)
        return descent

    def _go_on(
        self, state: BooleanLeastSquaresState, probe: Probe, measurement: Measurement
    ) -> tuple[CoordinateDescentState, Info]:
        before = eqx.tree_at(lambda s: s.clock, state, probe.clock)
        asked, after = self.then.ask(self._descent(before))
        return self.then.tell(after, asked, measurement)


def _steps(theta: Float[Array, " N"], space: Space) -> Float[Array, " N"]:
    """The step of a mirror that reveals its column: to the farthest level."""
    middle = 0.5 * (jnp.asarray(space.low) + jnp.asarray(space.high))
    return jnp.where(theta > middle, space.low, space.high).astype(theta.dtype) - theta
