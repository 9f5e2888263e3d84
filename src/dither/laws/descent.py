"""Boolean coordinate descent on known columns, at more than a million tests per second.

It is used to compute the law of the whole curve and to test it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

from dither._errors import RequestError
from dither.laws._readout import (
    ERRORS,
    ReadoutColumns,
    ReadoutNoise,
    ReadoutOutput,
    at,
    draw_noise,
    standard_deviation,
)

ORDERS = ("uniform", "sweep")
DECISIONS = ("keep", "remeasure")

BLOCK = 16
"""Tests evaluated together; those after the first kept flip are evaluated again."""


class Descended(NamedTuple):
    """The outcome of a descent.

    Attributes: `errors`, noiseless errors of the accepted weights, before the first test and after
    every `record_every` tests; `weights`, the last ones; `last_accepted`, the number of the last
    test with a kept flip, from 1 (0 if there was none).
    """

    errors: Float[Array, " records"]
    weights: Float[Array, " N"]
    last_accepted: Int[Array, ""]


class _State(NamedTuple):
    y: Float[Array, " T"]
    excess: Float[Array, " T"]  # the rounding error of y (Kahan summation)
    output: ReadoutOutput
    weights: Float[Array, " N"]
    reference: Float[Array, ""]
    tests: Int[Array, ""]
    last_accepted: Int[Array, ""]


def mirrors(key: Key[Array, ""], neurons: int, tests: int, order: str) -> Int[Array, " tests"]:
    """The mirror flipped in each test.

    Arguments: a key; N; the number of tests; `order`, `uniform` (a mirror drawn at each test) or
    `sweep` (a new permutation of all mirrors for every N tests).
    """
    if order == "uniform":
        return jax.random.randint(key, (tests,), 0, neurons, jnp.int32)
    sweeps = jax.random.split(key, -(-tests // neurons))
    permutations = jax.lax.map(lambda one: jax.random.permutation(one, neurons), sweeps)
    return jnp.asarray(permutations.ravel()[:tests], jnp.int32)


def descend(
    key: Key[Array, ""],
    columns: Float[Array, "N T"],
    target: Float[Array, " T"],
    weights: Num[Array, " N"] | Bool[Array, " N"],
    tests: int,
    *,
    order: str = "uniform",
    error: str = "squared",
    noise: float | Float[Array, ""] = 0.0,
    decision: str = "keep",
    record_every: int = 1,
) -> Descended:
    """Flip mirrors one by one, and keep each flip that lowers the measured error.

    With y = Σ_i w_i x_i, s_i = 1 − 2 w_i and a_i = |x_i|, flipping w_i decreases the squared error
    f = |t − y|² by

    `2 s_i ⟨x_i, t − y⟩ − a_i²`

    and, for centred columns and target with |t| = 1, increases the squared correlation c² of y and
    t (NMSE = 2 (1 − c)) by

    `(2 s_i p ⟨x_i, t − g y⟩ + ⟨x_i, t⟩² − g p a_i²) / |y'|²`, p = ⟨y, t⟩, g = p / |y|²

    so that a test costs two products with one column. A constant output has an NMSE of 1. Noise of
    standard deviation `noise` · std(y) on every sample, new at every measurement, enters through
    its components along y and t and its length, which are drawn instead of the samples (the length
    by the Wilson–Hilferty approximation, which is accurate for ten or more samples).

    Arguments:
        key: for the mirrors and the noise; the mirrors are those of
            `mirrors(jax.random.split(key)[0], …)`.
        columns: x_i, the neurons' traces, in half or single precision; sums are in single
            precision. Centre traces with a large mean before the conversion to half precision.
        target: t.
        weights: the initial w, 0 or 1.
        tests: the number of tests.
        order: of the mirrors, `uniform` or `sweep`.
        error: `squared` or `nmse`.
        noise: ≥ 0, relative to the output's standard deviation.
        decision: whether a test is compared with the error measured when the last flip was kept
            (`keep`), or with a new measurement of the accepted weights (`remeasure`, two
            measurements per test).
        record_every: tests between two entries of the curve; divides `tests`.

    Errors: `RequestError` for unknown options, or if `record_every` does not divide `tests`.
    Source: derived here, checked by the tests.
    """
    _check_words(order, error, decision)
    if tests < 1 or record_every < 1 or tests % record_every:
        raise RequestError(f"record_every ({record_every}) must divide the {tests} tests.")
    noisy = not (isinstance(noise, float) and noise == 0)
    if noisy and target.size < 4:
        raise RequestError(f"Noise needs at least 4 samples, not {target.size}.")
    found: Descended = _descend(
        key, columns, target, weights, noise, tests, order, error, noisy, decision, record_every
    )
    return found


def _check_words(order: str, error: str, decision: str) -> None:
    for word, known in ((order, ORDERS), (error, tuple(ERRORS)), (decision, DECISIONS)):
        if word not in known:
            raise RequestError(f"'{word}' must be one of {' or '.join(known)}.")


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9, 10))
def _descend(
    key: Key[Array, ""],
    columns: Float[Array, "N T"],
    target: Float[Array, " T"],
    weights: Num[Array, " N"] | Bool[Array, " N"],
    noise: Any,
    tests: int,
    order: str,
    error: str,
    noisy: bool,
    decision: str,
    record_every: int,
) -> Descended:
    kind, samples = ERRORS[error], target.size
    for_mirrors, for_noise = jax.random.split(key)
    flipped = jnp.pad(mirrors(for_mirrors, len(columns), tests, order), (0, BLOCK))
    known = kind.columns(columns, target)
    w = weights.astype(jnp.float32)
    y = kind.centred(jnp.sum(w[:, None] * columns, axis=0))
    output = kind.of(known, y)

    def noise_of(n: Int[Array, ""] | int, tests: int) -> tuple[ReadoutNoise, ReadoutNoise]:
        """The noise for the tests, and for new measurements of the reference."""
        free = samples - kind.constrained
        once, again = jax.random.split(jax.random.fold_in(for_noise, n))
        return draw_noise(once, tests, free), draw_noise(again, tests, free)

    def measured(output: ReadoutOutput, drawn: ReadoutNoise) -> Float[Array, " tests"]:
        return kind.measured(output, noise * standard_deviation(output, samples), drawn)

    def record(state: _State, n: Int[Array, ""]) -> tuple[_State, Float[Array, ""]]:
        start, end = n * record_every, (n + 1) * record_every
        drawn = noise_of(n, record_every + BLOCK) if noisy else None

        def block(state: _State) -> _State:
            k = state.tests
            i = jax.lax.dynamic_slice(flipped, (k,), (BLOCK,))
            x = at(columns, i).astype(jnp.float32)
            s = 1 - 2 * at(state.weights, i)
            fall, output = kind.after(known, state.output, state.y, x, i, s)
            better, errors = fall > 0, output.f
            if drawn is not None:
                once, again = jax.tree.map(
                    lambda z: jax.lax.dynamic_slice(z, (k - start,), (BLOCK,)), drawn
                )
                errors = measured(output, once)
                anew = decision == "remeasure"
                better = errors < (measured(state.output, again) if anew else state.reference)
            better = better & (jnp.arange(BLOCK) < end - k)
            return _kept(kind, known, state, better, i, x, s, errors, jnp.minimum(k + BLOCK, end))

        state = jax.lax.while_loop(lambda state: state.tests < end, block, state)
        return state, state.output.f

    reference = output.f
    if noisy:
        reference = measured(output, noise_of(tests, 1)[0])[0]
    state = _State(y, jnp.zeros_like(y), output, w, reference, jnp.int32(0), jnp.int32(0))
    state, errors = jax.lax.scan(record, state, jnp.arange(tests // record_every))
    return Descended(jnp.append(output.f, errors), state.weights, state.last_accepted)


def _kept(
    kind: Any,
    known: ReadoutColumns,
    state: _State,
    better: Bool[Array, " n"],
    i: Int[Array, " n"],
    x: Float[Array, "n T"],
    s: Float[Array, " n"],
    errors: Float[Array, "..."],
    end: Int[Array, ""],
) -> _State:
    """The state after the first kept flip of a block, or after the whole block if there is none."""
    j = jnp.argmax(better)
    kept, tests = better[j], state.tests + j + 1
    flip = jnp.where(kept, s[j], 0.0)
    change = flip * kind.centred(x[j]) - state.excess
    y = state.y + change
    return _State(
        y,
        (y - state.y) - change,
        kind.of(known, y),
        state.weights.at[i[j]].add(flip, mode="promise_in_bounds"),
        jnp.where(kept, errors[j], state.reference),
        jnp.where(kept, tests, end),
        jnp.where(kept, tests, state.last_accepted),
    )
