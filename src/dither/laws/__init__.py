"""Laws: what to expect before measuring, in closed form or from surrogates; fits to hold beside."""

from dither.laws.angle import AngleTime, angle_time, node_angle_time, weight_angle_time
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
from dither.laws.layerwise import (
    layerwise_kappa,
    measurement_kappa,
    optimal_kappa,
    optimal_shares,
    split_kappa,
    weight_variances,
)
from dither.laws.node import CostNoise, Estimated, dense_node_variance, node_variance
from dither.laws.readouts import Readout, quantised_readout, ridge_readout
from dither.laws.surrogate import PredictedCurve, Statistics, predicted_curve, statistics_of

__all__ = [
    "CRITERIA",
    "AngleTime",
    "CostNoise",
    "Descent",
    "Estimated",
    "Interval",
    "PredictedCurve",
    "Readout",
    "Run",
    "Statistics",
    "angle_time",
    "cosine",
    "crossing",
    "dense_node_variance",
    "descend",
    "exponential_constant",
    "growth",
    "initial_fall",
    "layerwise_kappa",
    "measurement_kappa",
    "mirrors",
    "node_angle_time",
    "node_variance",
    "noise_kappa",
    "optimal_kappa",
    "optimal_shares",
    "power_law_fit",
    "predicted_curve",
    "quantised_readout",
    "ridge_readout",
    "split_kappa",
    "statistics_of",
    "sweep_excess",
    "ticks_to_angle",
    "uniform_excess",
    "weight_angle_time",
    "weight_variances",
]
