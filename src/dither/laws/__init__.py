"""Laws: what to expect before measuring, in closed form or from surrogates; fits to hold beside."""

from dither.laws.coordinate_descent import initial_fall, sweep_excess, uniform_excess
from dither.laws.descent import Descent, descend, mirrors
from dither.laws.estimate import cosine, growth, noise_kappa, ticks_to_angle
from dither.laws.fits import (
    CRITERIA,
    Interval,
    Run,
    crossing,
    exponential_constant,
    power_law_fit,
)
from dither.laws.readouts import Readout, quantised_readout, ridge_readout
from dither.laws.surrogate import PredictedCurve, Statistics, predicted_curve, statistics_of

__all__ = [
    "CRITERIA",
    "Descent",
    "Interval",
    "PredictedCurve",
    "Readout",
    "Run",
    "Statistics",
    "cosine",
    "crossing",
    "descend",
    "exponential_constant",
    "growth",
    "initial_fall",
    "mirrors",
    "noise_kappa",
    "power_law_fit",
    "predicted_curve",
    "quantised_readout",
    "ridge_readout",
    "statistics_of",
    "sweep_excess",
    "ticks_to_angle",
    "uniform_excess",
]
