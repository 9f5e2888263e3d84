"""The speed of descent by perturbation: effective rank, best step, stability.

The values are exact in a simulation, by Hessian-vector products (`curvature`), and estimated on a
device that shows only costs, by second differences (`probe_curvature`, `probe_largest`). Derived
here, checked by the tests; for a cost that is not quadratic they are local values.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dither._errors import RequestError

Measure: TypeAlias = Callable[[Float[np.ndarray, " N"]], float]
"""From parameters to a measured cost."""


class Curvature(NamedTuple):
    """The gradient and the curvature of a cost at a point.

    Attributes: `squared_gradient`, |g|²; `trace`, tr H; `along`, gᵀHg; `diagonal`, Σ_i g_i² H_ii.
    """

    squared_gradient: float
    trace: float
    along: float
    diagonal: float = 0.0

    @property
    def effective_rank(self) -> float:
        """`r = |g|² tr H / (gᵀHg)`: N for equal curvatures, 1 if only that along g is not 0.

        Errors: `RequestError` if the cost is not convex along the gradient.
        """
        if not self.along > 0:
            raise RequestError(
                f"The cost is not convex along its gradient (gᵀHg = {self.along:g}), so "
                "there is no best step and no effective rank here."
            )
        return self.squared_gradient * self.trace / self.along

    def of_estimate(self, ticks: float) -> float:
        """The curvature along the estimate.

        `E[GᵀHG] = (1 − 1/T) gᵀHg + (|g|² tr H + 2 gᵀHg − 2 Σ_i g_i² H_ii) / T`

        Arguments: T ≥ 1, the averaged perturbations by random signs. Source: derived here.
        """
        once = self.squared_gradient * self.trace + 2 * self.along - 2 * self.diagonal
        return (1 - 1 / ticks) * self.along + once / ticks


def best_learning_rate(curvature: Curvature, ticks: float) -> float:
    """The rate at which one step decreases a quadratic cost most, on average.

    `eta = |g|² / E[GᵀHG]`, which decreases the cost by `eta |g|² / 2`

    Arguments: `curvature`; T, the perturbations averaged. Errors: `RequestError` if the curvature
    along the estimate is not positive. Source: derived here.
    """
    met = curvature.of_estimate(ticks)
    if not met > 0:
        raise RequestError(
            f"The curvature along the estimate is not positive (E[GᵀHG] = {met:g}), so no "
            "rate is best."
        )
    return curvature.squared_gradient / met


def perturbations_per_progress(curvature: Curvature, ticks: float) -> float:
    """The perturbations needed for the progress of one step along the exact gradient.

    `T + r + 1 − 2 Σ_i g_i² H_ii / (gᵀHg)`, at the best rate

    Each perturbation takes two measurements: with a baseline, or as a central pair.

    Arguments and errors: as for `best_learning_rate`. Source: derived here.
    """
    rank = curvature.effective_rank
    return ticks + rank + 1 - 2 * curvature.diagonal / curvature.along


def stability_limit(trace: float, largest: float, ticks: float) -> float:
    """The rate up to which descent by random signs converges on a quadratic cost.

    `eta < 2 / (tr H / T + (1 − 1/T) lambda_max)`: 2 / tr H for T = 1, 2 / lambda_max for T → ∞

    Exact at T = 1 and T → ∞ if the Hessian is diagonal, sufficient in between.

    Arguments: `trace`, tr H > 0; `largest`, lambda_max > 0; T. Source: derived here.
    """
    return 2 / (trace / ticks + (1 - 1 / ticks) * largest)


def curvature(
    cost: Callable[[Float[Array, " N"]], Float[Array, ""]],
    theta: Float[Array, " N"],
    key: Key[Array, ""],
    probes: int = 64,
) -> Curvature:
    """Gradient and curvature in a simulation, by Hessian-vector products along random signs.

    `tr H ≈ mean sᵀHs`, `Σ_i g_i² H_ii ≈ mean (g⊙s)ᵀH(g⊙s)`; |g|² and gᵀHg exact.

    Arguments: `cost`, differentiable; `theta`; `key`; `probes` ≥ 1.
    Source: Hutchinson's estimator of a trace.
    """
    g = jax.grad(cost)(theta)

    def along(v: Float[Array, " N"]) -> Float[Array, ""]:
        return jnp.vdot(v, jax.jvp(jax.grad(cost), (theta,), (v,))[1])

    def one(key: Key[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        s = jax.random.rademacher(key, theta.shape, theta.dtype)
        return along(s), along(g * s)

    traces, diagonals = jax.lax.map(one, jax.random.split(key, probes))
    return Curvature(
        float(jnp.vdot(g, g)), float(traces.mean()), float(along(g)), float(diagonals.mean())
    )


class Probed(NamedTuple):
    """Gradient and curvature estimated from measured costs.

    Attributes: `squared_gradient`, |g|²; `trace`, tr H, with its standard error `trace_error`;
    `of_estimate`, GᵀHG along the estimate G averaged over the probes; `learning_rate`, the best at
    T = 1, `1 / tr H`; `measurements`, the number used.
    """

    squared_gradient: float
    trace: float
    trace_error: float
    of_estimate: float
    learning_rate: float
    measurements: int


def probe_curvature(
    measure: Measure,
    theta: Float[np.ndarray, " N"],
    rng: np.random.Generator,
    delta: float,
    probes: int = 64,
    sigma: float = 0.0,
) -> Probed:
    """Gradient and curvature from measured costs alone, three per random sign vector s.

    `a = (C(θ + δs) − C(θ − δs)) / 2δ`, `k = (C(θ + δs) + C(θ − δs) − 2 C(θ)) / δ²`:
    `|g|² ≈ mean a² − sigma² / 2δ²`, `tr H ≈ mean k`; and one more k along `G = mean a s`.

    Arguments: `measure`; `theta`, N parameters; `rng`; `delta` > 0; `probes` ≥ 2; `sigma`, the
    noise of one cost, from repeated measurements. Errors: `RequestError` if the curvature is not
    positive by two standard errors; then use more probes or a larger delta.
    Source: derived here.
    """

    def bend(direction: Float[np.ndarray, " N"]) -> tuple[float, float]:
        plus, minus = measure(theta + delta * direction), measure(theta - delta * direction)
        return (plus - minus) / (2 * delta), (plus + minus - 2 * measure(theta)) / delta**2

    signs = rng.choice((-1.0, 1.0), size=(probes, theta.size))
    slopes, bends = np.array([bend(s) for s in signs]).T
    trace, error = float(bends.mean()), float(bends.std(ddof=1) / np.sqrt(probes))
    if trace < 2 * error or trace <= 0:
        raise RequestError(
            f"The curvature {trace:.3g} ± {error:.3g} is not significant; use more probes or "
            "a larger delta."
        )
    G = (slopes[:, None] * signs).mean(axis=0)
    scale = np.sqrt(theta.size) / max(float(np.linalg.norm(G)), np.finfo(float).tiny)
    met = bend(scale * G)[1] / scale**2
    squared = float(np.mean(slopes**2)) - sigma**2 / (2 * delta**2)
    return Probed(max(squared, 0.0), trace, error, met, 1 / trace, 3 * (probes + 1))


def probe_largest(
    measure: Measure,
    theta: Float[np.ndarray, " N"],
    rng: np.random.Generator,
    delta: float,
    steps: int = 10,
    probes: int = 64,
) -> tuple[float, int]:
    """The largest curvature from measured costs alone: power iteration by perturbed probes.

    `Hv ≈ mean s (C(θ+δs+εv) − C(θ−δs+εv) − C(θ+δs−εv) + C(θ−δs−εv)) / 4δε`, `v ← Hv / |Hv|`,
    `ε = δ√N`; at the end `vᵀHv` by a second difference: a lower bound, which is tighter with more
    probes.

    Arguments: as for `probe_curvature`; `steps` of the iteration, of 4 `probes` measurements each;
    N or more probes follow a direction well. Returns: lambda_max, the measurements used.
    Source: derived here.
    """
    N = theta.size
    v = rng.normal(size=N)
    for _ in range(steps):
        step = delta * np.sqrt(N) * v / np.linalg.norm(v)
        signs = delta * rng.choice((-1.0, 1.0), size=(probes, N))
        twice = [
            measure(theta + s + step)
            - measure(theta - s + step)
            - measure(theta + s - step)
            + measure(theta - s - step)
            for s in signs
        ]
        v = np.asarray(twice) @ signs
    step = delta * np.sqrt(N) * v / np.linalg.norm(v)
    bent = measure(theta + step) + measure(theta - step) - 2 * measure(theta)
    return float(bent / (delta**2 * N)), 4 * steps * probes + 3
