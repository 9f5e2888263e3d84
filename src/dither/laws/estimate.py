"""The quality of gradient estimates from perturbations. Derived here, checked by the tests."""

import math

from dither._errors import RequestError


def growth(kappa: float, ticks: float) -> float:
    """The ratio of the averaged estimate's length to the gradient's, root mean square.

    `√(E|G|² / |g|²) = √(1 + kappa / T)`

    Arguments: kappa ≥ 0 of one tick (P − 1 for random signs on P parameters, see
    `AbstractCode.kappa`, plus `noise_kappa`); T > 0, the ticks averaged.
    """
    return math.sqrt(1.0 + kappa / ticks)


def cosine(kappa: float, ticks: float) -> float:
    """The cosine of the angle between the averaged estimate and the gradient.

    `cos(G, g) = 1 / √(1 + kappa / T)`

    Arguments: as for `growth`. Exact in the root-mean-square sense, and close to the mean for large
    kappa.
    """
    return 1.0 / growth(kappa, ticks)


def ticks_to_angle(kappa: float, degrees: float) -> float:
    """The ticks to average until the estimate is within an angle of the gradient.

    `T = kappa / tan²(angle)`: 13.93 kappa for 15°

    Arguments: kappa, as for `growth`; the angle, in (0, 90) degrees. Errors: `RequestError` for an
    angle outside.
    """
    if not 0 < degrees < 90:
        raise RequestError(f"The angle must be between 0 and 90 degrees, not {degrees:g}.")
    return kappa / math.tan(math.radians(degrees)) ** 2


def noise_kappa(
    sigma: float, parameters: int, delta: float, squared_gradient: float, pairs: str = "baseline"
) -> float:
    """The contribution of cost noise to kappa.

    `sigma² P / (delta² |g|²)` for each measurement in a difference: twice this if the baseline is
    measured at every tick; half of this for a central pair, whose difference is divided by 2.

    Arguments: `sigma`, of one measured cost; P; `delta`; |g|²; `pairs`, `baseline` or `central`.
    """
    once = sigma**2 * parameters / (delta**2 * squared_gradient)
    return once / 2 if pairs == "central" else 2 * once
