"""Closed-form laws: what to expect before measuring."""

from dither.laws.coordinate_descent import initial_fall, sweep_excess, uniform_excess
from dither.laws.estimate import cosine, growth, noise_kappa, ticks_to_angle
from dither.laws.readouts import Readout, quantised_readout, ridge_readout

__all__ = [
    "Readout",
    "cosine",
    "growth",
    "initial_fall",
    "noise_kappa",
    "quantised_readout",
    "ridge_readout",
    "sweep_excess",
    "ticks_to_angle",
    "uniform_excess",
]
