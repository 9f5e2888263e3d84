"""Boolean and ternary least squares: the best weights for known columns.

The output is y = X w, with the columns x_i of X as rows, `columns[N, T]`, and w in {0, 1}ᴺ or
{−1, 0, 1}ᴺ. The error is the NMSE of output and target, both z-scored: `2 (1 − corr(X w, t))`.

With t̂ the centred target of unit length and x_i = b_i t̂ + x⊥_i the centred columns, an output has
a component along the target and one orthogonal to it,

`q = Σ b_i w_i`, `P = |Σ w_i x⊥_i|² = wᵀ G w`, `G_ij = ⟨x⊥_i, x⊥_j⟩`, `corr = q / √(q² + P)`

and with c = G w a step d of weight i costs O(N): `q + d b_i`, `P + 2 d c_i + d² G_ii`, `c + d G_i`.
Separating t̂ keeps small errors exact in single precision. Derived here, checked by the tests.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

SWEEPS = 100
"""Sweeps of `solve` beyond which more gain little (measured on photonic reservoirs)."""

HOT, COLD = 1.0, 0.003
"""First and last temperature, in units of the mean change G_ii / q² due to a flip."""


class Quadratic(NamedTuple):
    """The quantities that determine the error, for columns scaled to a mean squared length of 1.

    Attributes: `along`, b, the components of the columns along the target; `across`, G, the inner
    products of their orthogonal components.
    """

    along: Float[Array, " N"]
    across: Float[Array, "N N"]


class Output(NamedTuple):
    """The output of some weights: `q`, `P` and `c` as above."""

    q: Float[Array, ""]
    P: Float[Array, ""]
    c: Float[Array, " N"]


def quadratic(columns: Float[Array, "N T"], target: Float[Array, " T"]) -> Quadratic:
    """The Boolean least-squares problem of some columns and a target that is not constant.

    Arguments: columns and target in any units, T samples each.
    """
    x = columns - jnp.mean(columns, axis=1, keepdims=True)
    length = jnp.sqrt(jnp.sum(x**2) / len(x))
    x = x / jnp.where(length > 0, length, 1.0)
    t = target - jnp.mean(target)
    t = t / jnp.linalg.norm(t)
    b = jnp.matmul(x, t, precision="highest")
    x = x - b[:, None] * t
    return Quadratic(b, jnp.matmul(x, x.T, precision="highest"))


def output(problem: Quadratic, weights: Float[Array, " N"]) -> Output:
    """The output of weights, computed from scratch."""
    c = jnp.matmul(problem.across, weights, precision="highest")
    return Output(problem.along @ weights, weights @ c, c)


def error(q: Float[Array, "..."], P: Float[Array, "..."]) -> Float[Array, "..."]:
    """`NMSE = 2 (1 − q / √(q² + P))`, written without cancellation; 1 for a constant output."""
    P = jnp.maximum(P, 0.0)
    length = jnp.sqrt(q**2 + P)
    near = 2 * P / jnp.maximum(length * (length + jnp.abs(q)), CONSTANT)
    return jnp.where(length**2 > CONSTANT, jnp.where(q > 0, near, 4 - near), 1.0)


CONSTANT = 1e-6
"""The squared length below which an output counts as constant; that of a column is 1."""


def nmse(problem: Quadratic, weights: Float[Array, " N"]) -> Float[Array, ""]:
    """The error of weights."""
    y = output(problem, weights)
    return error(y.q, y.P)


def steps(weights: Float[Array, " N"], levels: int = 2) -> Float[Array, "K N"]:
    """The possible steps of each weight: K = levels − 1 steps to the other levels.

    Arguments: weights, in {0, 1} for 2 `levels`, in {−1, 0, 1} for 3.
    """
    low = 0 if levels == 2 else -1
    turn = jnp.arange(1, levels)[:, None]
    return (weights - low + turn) % levels + low - weights


def neighbours(
    problem: Quadratic, y: Output, d: Float[Array, "K N"]
) -> tuple[Float[Array, "K N"], Float[Array, "K N"]]:
    """q and P after each single step."""
    diagonal = jnp.diagonal(problem.across)
    return y.q + d * problem.along, y.P + 2 * d * y.c + d**2 * diagonal


def moved(problem: Quadratic, y: Output, i: Int[Array, ""], d: Float[Array, ""]) -> Output:
    """The output after a step d of weight i."""
    q = y.q + d * problem.along[i]
    P = y.P + 2 * d * y.c[i] + d**2 * problem.across[i, i]
    return Output(q, P, y.c + d * problem.across[i])


def one_opt(problem: Quadratic, weights: Float[Array, " N"], levels: int = 2) -> Float[Array, " N"]:
    """The weights after repeating the best single step until none lowers the error.

    Arguments: start and `levels` as for `steps`.
    """

    def look(w: Float[Array, " N"], y: Output) -> Best:
        d = steps(w, levels)
        return best(d, error(*neighbours(problem, y, d)))

    def step(carry: SearchState) -> SearchState:
        w, y, _, (e, i, d) = carry
        w, y = w.at[i].add(d), moved(problem, y, i, d)
        return SearchState(w, y, e, look(w, y))

    y = output(problem, weights)
    start = SearchState(weights, y, error(y.q, y.P), look(weights, y))
    end: SearchState = jax.lax.while_loop(lambda carry: carry.next.e < carry.e, step, start)
    return end.w


class Best(NamedTuple):
    """The single step with the lowest error: the error, the weight, the step."""

    e: Float[Array, ""]
    i: Int[Array, ""]
    d: Float[Array, ""]


class SearchState(NamedTuple):
    """Weights, their output and error, and the best step from there."""

    w: Float[Array, " N"]
    y: Output
    e: Float[Array, ""]
    next: Best


def best(d: Float[Array, "K N"], e: Float[Array, "K N"]) -> Best:
    """The best of some single steps d with errors e."""
    k, i = jnp.unravel_index(jnp.argmin(e), e.shape)
    return Best(e[k, i], i, d[k, i])


class Walk(NamedTuple):
    """Weights, their output and error, and the best weights and error so far."""

    w: Float[Array, " N"]
    y: Output
    e: Float[Array, ""]
    best_w: Float[Array, " N"]
    best_e: Float[Array, ""]


def anneal(
    key: Key[Array, ""],
    problem: Quadratic,
    weights: Float[Array, " N"],
    sweeps: Int[Array, ""] | int,
    levels: int = 2,
) -> Float[Array, " N"]:
    """The best weights found by simulated annealing with flips that are repaired.

    In a sweep each weight i in random order moves to another level, then the one step that best
    repairs the error is taken at another weight j, or none if none lowers it. The pair is kept if
    the error rises by less than `−temperature · log(uniform)`. The temperature falls geometrically,
    from `HOT` to `COLD` times `mean_i G_ii / q²`. The columns of a reservoir are similar, so that a
    pair of flips is a finer step than one.

    Arguments: start and `levels` as for `steps`; `sweeps` ≥ 0, which may be traced; each costs
    O(N²).
    """
    neurons = weights.size
    unit = jnp.mean(jnp.diagonal(problem.across))

    def sweep(number: Int[Array, ""], walk: Walk) -> Walk:
        for_order, for_turn, for_chance = jax.random.split(jax.random.fold_in(key, number), 3)
        order = jax.random.permutation(for_order, neurons)
        turn = jax.random.randint(for_turn, (neurons,), 0, levels - 1)
        chance = jax.random.uniform(for_chance, (neurons,), minval=1e-9)
        y = output(problem, walk.w)
        e = error(y.q, y.P)
        cooling = HOT * (COLD / HOT) ** (number / jnp.maximum(sweeps - 1, 1))
        rise = -cooling * unit / jnp.maximum(y.q**2, CONSTANT) * jnp.log(chance)

        def test(k: Int[Array, ""], walk: Walk) -> Walk:
            i, d = order[k], steps(walk.w, levels)
            first = d[turn[k], i]
            one = moved(problem, walk.y, i, first)
            others = error(*neighbours(problem, one, d)).at[:, i].set(jnp.inf)
            repair = best(d, others)
            second = jnp.where(repair.e < error(one.q, one.P), repair.d, 0.0)
            two = moved(problem, one, repair.i, second)
            w = walk.w.at[i].add(first).at[repair.i].add(second)
            e = error(two.q, two.P)
            return better(keep(e - walk.e < rise[k], walk._replace(w=w, y=two, e=e), walk))

        start = better(walk._replace(y=y, e=e))
        end: Walk = jax.lax.fori_loop(0, neurons, test, start)
        return end

    nothing = jnp.zeros_like(problem.along)
    worst = jnp.full_like(unit, jnp.inf)
    start = Walk(weights, Output(nothing[0], nothing[0], nothing), worst, weights, worst)
    end: Walk = jax.lax.fori_loop(0, sweeps, sweep, start)
    return end.best_w


def keep(kept: Bool[Array, ""], after: Walk, before: Walk) -> Walk:
    """One of two walks."""
    walk: Walk = jax.tree.map(lambda new, old: jnp.where(kept, new, old), after, before)
    return walk


def better(walk: Walk) -> Walk:
    """The walk, with its present weights as the best ones if they are."""
    now = walk._replace(best_w=walk.w, best_e=walk.e)
    return keep(walk.e < walk.best_e, now, walk)


def solve(
    key: Key[Array, ""],
    columns: Float[Array, "N T"],
    target: Float[Array, " T"],
    weights: Float[Array, " N"],
    sweeps: Int[Array, ""] | int = SWEEPS,
    levels: int = 2,
) -> Float[Array, " N"]:
    """Weights for known columns: descent, annealing, descent; never worse than the start.

    Arguments: as for `quadratic`, `anneal` and `steps`. With 0 `sweeps` the start is returned
    without computation, also if `sweeps` is traced and under `vmap`.
    """

    def once(_: Int[Array, ""], weights: Float[Array, " N"]) -> Float[Array, " N"]:
        problem = quadratic(columns, target)
        weights = one_opt(problem, weights, levels)
        weights = anneal(key, problem, weights, sweeps, levels)
        return one_opt(problem, weights, levels)

    found: Float[Array, " N"] = jax.lax.fori_loop(0, jnp.minimum(sweeps, 1), once, weights)
    return found
