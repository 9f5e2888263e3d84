"""Adaptive sampling by measured costs."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.contract import AccessLevel
from dither.tasks.samplers.sampler import AbstractSampler


class Adapted(eqx.Module):
    """The state of an adaptive sampler.

    Attributes: `costs`, the running cost of each sample, −1 if not yet measured; `q`, the
    probabilities of the present period's batches; `period`, its number, and `began`, that of the
    last restart of the cosine; `total`, the sum of the mean costs in this period, and `measured`,
    their number; `best`, the lowest mean cost of a period since the restart, and `since`, the
    periods after it.
    """

    costs: Float[Array, "*grid"]
    q: Float[Array, " N"]
    period: Int[Array, ""]
    began: Int[Array, ""]
    total: Float[Array, ""]
    measured: Int[Array, ""]
    best: Float[Array, ""]
    since: Int[Array, ""]


class Adaptive(AbstractSampler):
    """Draw samples in proportion to their measured costs, mixed with a uniform share.

    ```
    q_i = s/N + (1 − s) m_i / Σ_j m_j,   s = u + (1 − u) (1 + cos(π τ / cycle)) / 2
    m_i = √c_i (residual)  or  |∇c|_i over the grid of points (gradient)
    c_i ← momentum c_i + (1 − momentum) C_i,   each time that sample i is measured
    ```

    The costs C_i are those of the training batches, so that adaptation needs no extra measurements.
    A sample that was not yet measured has the mean of the others. q changes after a period of
    `every` batches; τ counts the periods since the last (re)start, modulo cycle. The mean cost of a
    period is weighted by `1/(N q_i)`; if it has not fallen for `patience` periods, τ restarts from
    0.

    Arguments:
        by: `residual` or `gradient`, the latter for collocation points on a grid.
        every: batches between changes of q, ≥ 1.
        cycle: periods in which the uniform share decreases from 1 to its minimum, ≥ 1.
        momentum: momentum of the running costs, 0 ≤ momentum < 1.
        uniform: u, the minimum uniform share, 0 < u ≤ 1.
        patience: periods without a lower mean cost before a restart, ≥ 1.
        unbiased: whether costs are weighted by `1/(N q_i)`, so that the expected cost of a batch
            equals that of uniform batches (importance sampling); otherwise the minimised cost
            changes with q, as in the paper.

    Source: Subramanian et al., 2207.04084. There the metric is computed at new points between
    epochs; the running costs of the batches and the weights are our own.
    """

    kind: Literal["adaptive"] = "adaptive"
    access_level: ClassVar[AccessLevel] = AccessLevel.OUTPUTS
    by: Literal["residual", "gradient"] = "residual"
    every: Annotated[int, Field(ge=1)] = 100
    cycle: Annotated[int, Field(ge=1)] = 20
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    uniform: Annotated[float, Field(gt=0, le=1)] = 0.1
    patience: Annotated[int, Field(ge=1)] = 20
    unbiased: bool = False

    def check(self, grid: tuple[int, ...]) -> None:
        if self.by == "gradient" and not grid:
            raise RequestError(
                "The sampler adaptive with by = gradient needs points on a grid, but the samples "
                "of this task have none; set task.sampler.by to residual."
            )

    def init(self, grid: tuple[int, ...]) -> Adapted:
        costs, zero = -jnp.ones(grid), jnp.int32(0)
        q = jnp.full(costs.size, 1 / costs.size)
        return Adapted(costs, q, zero, zero, jnp.zeros(()), zero, jnp.asarray(jnp.inf), zero)

    def begin(self, state: Adapted, draw: Int[Array, ""]) -> Adapted:
        due = (period := draw // self.every) > state.period
        cost = state.total / jnp.maximum(state.measured, 1)
        lower = cost < state.best
        since = jnp.where(lower, 0, state.since + 1)
        stalled = since >= self.patience
        began = jnp.where(stalled, period, state.began)
        after = Adapted(
            costs=state.costs,
            q=self.probabilities(state.costs, self.share(period - began)),
            period=period,
            began=began,
            total=jnp.zeros_like(state.total),
            measured=jnp.zeros_like(state.measured),
            best=jnp.where(lower | stalled, cost, state.best),
            since=jnp.where(stalled, 0, since),
        )
        begun: Adapted = jax.tree.map(lambda new, old: jnp.where(due, new, old), after, state)
        return begun

    def share(self, tau: Int[Array, ""]) -> Float[Array, ""]:
        """The uniform share s, tau periods after the start."""
        cosine = jnp.cos(jnp.pi * (tau % self.cycle) / self.cycle)
        return self.uniform + (1 - self.uniform) * (1 + cosine) / 2

    def probabilities(
        self, costs: Float[Array, "*grid"], share: Float[Array, ""]
    ) -> Float[Array, " N"]:
        """q, from the running costs (−1 if unknown) and the uniform share."""
        known = costs >= 0
        mean = jnp.sum(jnp.where(known, costs, 0)) / jnp.maximum(jnp.sum(known), 1)
        metric = filled = jnp.where(known, costs, mean)
        if self.by == "gradient":
            slopes = jnp.gradient(filled)
            slopes = slopes if isinstance(slopes, list) else [slopes]
            metric = jnp.sum(jnp.stack(slopes) ** 2, axis=0)
        metric = jnp.sqrt(metric).ravel()
        metric = jnp.where(jnp.any(metric > 0), metric, 1.0)
        return share / costs.size + (1 - share) * metric / jnp.sum(metric)

    def draw(
        self, state: Adapted | tuple[()], key: Key[Array, ""], n: int, samples: int
    ) -> Int[Array, " n"]:
        p = None if isinstance(state, tuple) else state.q
        return jax.random.choice(key, samples, (n,), p=p)

    def weights(self, state: Adapted, chosen: Int[Array, " n"]) -> Float[Array, " n"] | None:
        if not self.unbiased:
            return None
        return 1 / (state.q.size * state.q[chosen])

    def tell(self, state: Adapted, chosen: Int[Array, " n"], costs: Float[Array, " n"]) -> Adapted:
        flat = state.costs.ravel()
        times = jnp.zeros_like(flat).at[chosen].add(1)
        mean = jnp.zeros_like(flat).at[chosen].add(costs) / jnp.maximum(times, 1)
        moved = jnp.where(flat < 0, mean, self.momentum * flat + (1 - self.momentum) * mean)
        weighted = jnp.mean(costs / (flat.size * state.q[chosen]))
        return replace(
            state,
            costs=jnp.where(times > 0, moved, flat).reshape(state.costs.shape),
            total=state.total + weighted,
            measured=state.measured + 1,
        )
