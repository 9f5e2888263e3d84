"""The quality of estimates with layers perturbed one after the other.

A layer's estimate from one perturbation has the mean g_l and the variance `v_l = E|G_l − g_l|²`,
and the layers' errors are independent. For a network with a single layer of all parameters, these
are the laws of perturbing all at once. Derived here, checked by the tests.
"""

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither.laws.estimate import noise_kappa


def weight_variances(
    squared_gradients: Float[np.ndarray, " L"],
    sizes: Int[np.ndarray, " L"],
    sigma: float = 0.0,
    deltas: Float[np.ndarray, " L"] | None = None,
    pairs: str = "baseline",
) -> Float[np.ndarray, " L"]:
    """The variance of one estimate of each layer, from random signs on its weights.

    `v_l = |g_l|² (N_l − 1) + c sigma² N_l / δ_l²`, c = 2 with a baseline, 1/2 for central pairs

    Arguments: `squared_gradients`, |g_l|² > 0; `sizes`, N_l, the layers' parameters; `sigma`, the
    noise of one measured cost; `deltas`, δ_l > 0, needed if there is noise; `pairs`, `baseline` or
    `central`. Errors: `RequestError` for unequal lengths, noise without amplitudes, an amplitude of
    zero. Source: derived here.
    """
    if len(squared_gradients) != len(sizes):
        raise RequestError(
            f"There are {len(squared_gradients)} squared gradients and {len(sizes)} sizes of "
            "layers; give equally many."
        )
    own = squared_gradients * (sizes - 1.0)
    if sigma == 0:
        return np.asarray(own)
    if deltas is None or len(deltas) != len(sizes) or not np.all(deltas > 0):
        raise RequestError(
            "With cost noise the law needs the amplitude of every layer; give as many deltas above "
            "0 as there are layers."
        )
    noise = [noise_kappa(sigma, int(n), float(d), 1.0, pairs) for n, d in zip(sizes, deltas)]
    return np.asarray(own + np.array(noise))


def layerwise_kappa(
    squared_gradients: Float[np.ndarray, " L"], variances: Float[np.ndarray, " L"]
) -> float:
    """Kappa of one iteration, which perturbs every layer once.

    `kappa = Σ_l v_l / |g|²`, for weight perturbation without noise `Σ_l f_l (N_l − 1)` with
    `f_l = |g_l|² / |g|²`: for use in `cosine`, `growth` and `ticks_to_angle` with iterations as
    ticks.

    Arguments: `squared_gradients`, |g_l|²; `variances`, v_l, as from `weight_variances` or
    `node_variance`. Errors: `RequestError` if the gradient is zero. Source: derived here for the
    scheme of Oripov2025.
    """
    return float(np.sum(variances) / _squared_gradient(squared_gradients))


def measurement_kappa(kappa: float, layers: int, each: int = 2) -> float:
    """Kappa of layer-by-layer perturbation with measurements as ticks: `each · L · kappa`.

    Arguments: `kappa` of one iteration; L; `each`, the measurements per layer: 2 for a new baseline
    (Oripov2025) or a central pair. Source: derived here.
    """
    return each * layers * kappa


def normalised_slowdown(
    squared_gradients: Float[np.ndarray, " L"], sizes: Int[np.ndarray, " L"]
) -> float:
    """The slowdown of normalised perturbations relative to backpropagation at the same rate.

    `|g|² / Σ_l |g_l|² / √N_l`: the mean step of layer l is `eta g_l / √N_l`, so that to first order
    the cost falls by `eta Σ_l |g_l|² / √N_l` instead of `eta |g|²`; noise of the step is neglected.

    Arguments: `squared_gradients`, |g_l|²; `sizes`, N_l, the parameters or nodes of each layer that
    are perturbed together.
    Source: derived here for the normalisation of Oripov2025.
    """
    return float(_squared_gradient(squared_gradients) / np.sum(squared_gradients / np.sqrt(sizes)))


def split_kappa(
    squared_gradients: Float[np.ndarray, " L"],
    variances: Float[np.ndarray, " L"],
    shares: Float[np.ndarray, " L"],
) -> float:
    """Kappa with perturbations as ticks, a share T_l / T of them for layer l.

    `kappa = Σ_l v_l / (|g|² T_l/T)`; with equal shares L times `layerwise_kappa`.

    Arguments: `squared_gradients`, |g_l|²; `variances`, v_l; `shares`, above 0 with sum 1 (a layer
    without variance may have 0). Errors: `RequestError` for other shares or a zero gradient.
    Source: derived here.
    """
    active = variances > 0
    if abs(float(np.sum(shares)) - 1) > 1e-6 or not np.all(shares[active] > 0):
        raise RequestError("The shares of the layers must be above 0 and their sum must be 1.")
    cost = np.sum(variances[active] / shares[active])
    return float(cost / _squared_gradient(squared_gradients))


def optimal_shares(variances: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """The split of the perturbations over the layers that minimises `split_kappa`.

    `T_l / T = √v_l / Σ_m √v_m`, for weight perturbation without noise `∝ |g_l| √(N_l − 1)`

    Arguments: `variances`, v_l ≥ 0. Errors: `RequestError` if all are zero.
    Source: derived here (Neyman allocation of a stratified sample).
    """
    roots = np.sqrt(variances)
    if not roots.sum() > 0:
        raise RequestError("No layer has any variance, so there is nothing to split.")
    return np.asarray(roots / roots.sum())


def optimal_kappa(
    squared_gradients: Float[np.ndarray, " L"], variances: Float[np.ndarray, " L"]
) -> float:
    """Kappa with perturbations as ticks at the optimal split.

    `kappa = (Σ_l √v_l)² / |g|²`, for weight perturbation without noise at most `N − L`: never worse
    than all parameters at once.

    Arguments: as for `layerwise_kappa`. Source: derived here.
    """
    return float(np.sum(np.sqrt(variances)) ** 2 / _squared_gradient(squared_gradients))


def _squared_gradient(squared_gradients: Float[np.ndarray, " L"]) -> float:
    total = float(np.sum(squared_gradients))
    if not total > 0:
        raise RequestError("The gradient is zero in every layer, so an estimate has no direction.")
    return total
