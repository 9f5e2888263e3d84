"""The best amplitude of a perturbation, given cost noise and curvature.

The effect of a small perturbation is below the noise; a large one is affected by curvature. With
random signs s, the one-sided difference `C(θ + δs) − C(θ)` contains the slope and `δ² sᵀHs / 2`.
The second term is even in s, so it adds scatter but no bias. The central difference contains
`δ³ D³C[s,s,s] / 6`, a bias. Derived here, checked by the tests.
"""

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError


def curvature_square(hessian: Float[np.ndarray, "N N"]) -> float:
    """The mean square of the curvature along random signs.

    `q = E[(sᵀHs)²] = (tr H)² + 2 (|H|² − Σ_i H_ii²)`, |H|² the sum of all squared entries

    Arguments: `hessian`, symmetric. Source: derived here. From measurements alone: the mean square
    of the second differences `(C(θ + δs) + C(θ − δs) − 2 C(θ)) / δ²`.
    """
    diagonal = np.diag(hessian)
    return float(diagonal.sum() ** 2 + 2 * (np.sum(hessian**2) - np.sum(diagonal**2)))


def central_bias(third: Float[np.ndarray, "N N N"]) -> Float[np.ndarray, " N"]:
    """The bias of a central pair, for an amplitude of 1.

    `b_i = E[D³C[s,s,s] s_i] / 6 = ½ Σ_j C_ijj − ⅓ C_iii`: the estimate's mean is `g + δ² b`

    Arguments: `third`, the third derivatives C_ijk. Source: derived here.
    """
    return np.asarray(np.einsum("ijj->i", third) / 2 - np.einsum("iii->i", third) / 3)


def baseline_scatter(
    delta: float, sigma: float, parameters: int, curvature: float, ticks: float = 1.0
) -> float:
    """The squared error that noise and curvature add to an estimate with a baseline.

    `(2 sigma² N / δ² + δ² N q / 4) / T`, to be added to `|g|² (N − 1) / T`

    Arguments: `delta` > 0; `sigma` of one measured cost; N; `curvature`, q as from
    `curvature_square`; T, the ticks averaged, with a new baseline measurement at each.
    Source: derived here.
    """
    return parameters * (2 * sigma**2 / delta**2 + delta**2 * curvature / 4) / ticks


def central_scatter(
    delta: float, sigma: float, parameters: int, squared_bias: float, ticks: float = 1.0
) -> float:
    """The squared error that noise and curvature add to an estimate from central pairs.

    `sigma² N / (2 δ² T) + δ⁴ |b|²`

    Arguments: as for `baseline_scatter`; `squared_bias`, |b|² as from `central_bias`. It neglects
    the scatter `N (2 δ² g·b + ...) / T` due to the bias, which is small for T well above N.
    Source: derived here.
    """
    return parameters * sigma**2 / (2 * delta**2 * ticks) + delta**4 * squared_bias


def best_baseline_amplitude(sigma: float, curvature: float) -> float:
    """The amplitude with the least scatter of an estimate with a baseline.

    `δ = (8 sigma² / q)^¼`, for any T and N: noise and curvature then contribute equally.

    Arguments: `sigma` ≥ 0; `curvature`, q > 0 as from `curvature_square`. Errors: `RequestError`
    for a cost without curvature, for which no amplitude is too large. Source: derived here.
    """
    _bent(curvature)
    return float((8 * sigma**2 / curvature) ** 0.25)


def best_central_amplitude(
    sigma: float, parameters: int, squared_bias: float, ticks: float
) -> float:
    """The amplitude with the smallest squared error of an estimate from central pairs.

    `δ = (sigma² N / (4 T |b|²))^⅙`: it decreases with longer averaging.

    Arguments: as for `central_scatter`. Errors: `RequestError` for a cost without third
    derivatives, for which central pairs have no bias. Source: derived here.
    """
    _bent(squared_bias)
    return float((sigma**2 * parameters / (4 * ticks * squared_bias)) ** (1 / 6))


def _bent(curvature: float) -> None:
    if not curvature > 0:
        raise RequestError(
            "The cost has no curvature, so no amplitude is too large; use the largest "
            "that the device allows."
        )
