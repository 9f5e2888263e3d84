"""The variance of node-perturbation estimates of a layer's gradient.

A perturbation δ s of a layer's pre-activations, s_i = ±1, changes the cost of example b by
`δ u_b`, `u_b = s · e_b`, with e_b the error propagated back to the layer. The node errors are
estimated by `ê_b = u_b s`, and the layer's gradient by `G = mean_b A_b ê_b`, where A_b turns node
errors into a gradient (the outer product with the layer's input, or its kernel gradient). The
signs are shared over the batch, or drawn for each example. Derived here, checked by the tests.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dither._errors import RequestError

Pullback: TypeAlias = Callable[[Float[Array, "B ..."]], Float[Array, " P"]]
"""From node errors of every example to the layer's gradient, `e ↦ Σ_b A_b e_b`: linear."""


class Estimated(NamedTuple):
    """A value estimated from random probes, with its standard error."""

    value: float
    standard_error: float


class DifferenceNoise(NamedTuple):
    """The noise of every sample's measured cost, and the perturbation amplitude.

    Attributes: `sigma`, its standard deviation; `delta` > 0, of the perturbation, in units of z;
    `pairs`, `baseline` or `central`.
    """

    sigma: float
    delta: float
    pairs: Literal["baseline", "central"] = "baseline"

    @property
    def variance(self) -> float:
        """The variance of a difference: `c sigma² / δ²`, c = 2 with a baseline, 1/2 for a pair."""
        if not self.delta > 0:
            raise RequestError(f"The amplitude delta must be above 0, not {self.delta:g}.")
        return (0.5 if self.pairs == "central" else 2.0) * self.sigma**2 / self.delta**2


def dense_node_variance(
    inputs: Float[Array, "B p"],
    errors: Float[Array, "B q"],
    per_example: bool = False,
    noise: DifferenceNoise | None = None,
) -> float:
    """The variance of one node-perturbation estimate of a dense layer's weights and biases.

    Shared signs: `G = g s sᵀ`, so that `v = (q − 1) |g|²`: kappa is the number of neurons minus one
    for any batch. Signs per example: `v = (q − 1) Σ_b |g_b|² / B²`, smaller by up to a factor of
    the batch size B if the gradients g_b of the examples agree. Noise on the samples' costs adds
    `q Σ_b |x_b|² c sigma² / (δ² B²)` to either, with the bias's input of 1 included in x_b.

    Arguments: `inputs`, x_b of the layer; `errors`, e_b = ∂C_b/∂z_b, of each example's own cost;
    `per_example`, whether signs are drawn for each example; `noise`, by default none.
    Returns: E|G − g|². Errors: `RequestError` for an amplitude of zero. Source: derived here.
    """
    B, q = errors.shape
    x = jnp.concatenate([inputs, jnp.ones((B, 1), inputs.dtype)], axis=1)
    if per_example:
        squared = jnp.sum(jnp.sum(x**2, axis=1) * jnp.sum(errors**2, axis=1)) / B**2
    else:
        squared = jnp.sum((x.T @ errors / B) ** 2)
    added = 0.0 if noise is None else noise.variance * q * jnp.sum(x**2) / B**2
    return float((q - 1) * squared + added)


def node_variance(
    key: Key[Array, ""],
    errors: Float[Array, "B ..."],
    pullback: Pullback,
    probes: int = 256,
    per_example: bool = False,
    noise: DifferenceNoise | None = None,
) -> Estimated:
    """The variance of one node-perturbation estimate of any layer's gradient, from random probes.

    `v = E|G|² − |g|²`, the mean over draws of the signs of `G = mean_b A_b s (s · e_b)` with the
    exact errors; each draw costs one gradient of that layer.

    Arguments: `errors`, e_b = ∂C_b/∂z_b, for a convolution one for each output pixel and channel;
    `pullback`, from errors to the sum over the batch of the layer's gradients; `probes` ≥ 2;
    `per_example`, whether the signs are drawn for each; `noise` of the samples' costs.
    Returns: E|G − g|² and its standard error. Errors: `RequestError` for fewer than two probes, an
    amplitude of zero.
    Source: derived here.
    """
    check_probes(probes)
    draws = np.asarray(squared_estimates(key, errors, pullback, probes, per_example, noise), float)
    exact = float(jnp.sum((pullback(errors) / errors.shape[0]) ** 2))
    return from_draws(draws, exact)


def check_probes(probes: int) -> None:
    """Check the number of probes. Errors: `RequestError` for fewer than two."""
    if probes < 2:
        raise RequestError(f"A standard error needs at least 2 probes, not {probes}.")


def from_draws(squares: Float[np.ndarray, " probes"], exact: float) -> Estimated:
    """`E|G|² − |g|²` with its standard error, from draws of |G|² and the exact |g|²."""
    error = squares.std(ddof=1) / np.sqrt(len(squares))
    return Estimated(float(squares.mean()) - exact, float(error))


def squared_estimates(
    key: Key[Array, ""],
    errors: Float[Array, "B ..."],
    pullback: Pullback,
    probes: int,
    per_example: bool = False,
    noise: DifferenceNoise | None = None,
) -> Float[Array, " probes"]:
    """Draws of |G|², as in `node_variance`; can be traced."""
    batch, *site = errors.shape
    shape = errors.shape if per_example else (1, *site)

    def squared(key: Key[Array, ""]) -> Float[Array, ""]:
        s = jax.random.rademacher(key, shape, errors.dtype)
        u = jnp.sum((s * errors).reshape(batch, -1), axis=1)
        if noise is not None:
            of_noise = jax.random.normal(jax.random.fold_in(key, 1), (batch,), errors.dtype)
            u = u + noise.variance**0.5 * of_noise
        G = pullback(s * u.reshape(batch, *[1] * len(site))) / batch
        return jnp.sum(G**2)

    drawn: Float[Array, " probes"] = jax.lax.map(squared, jax.random.split(key, probes))
    return drawn
