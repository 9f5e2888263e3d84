"""Laws: what to expect before measuring, in closed form or from surrogates; fits to hold beside."""

from dither.laws.amplitude import (
    baseline_scatter,
    best_baseline_amplitude,
    best_central_amplitude,
    central_bias,
    central_scatter,
    curvature_square,
)
from dither.laws.angle import AngleTime, angle_time, node_angle_time, weight_angle_time
from dither.laws.coordinate_descent import initial_fall, sweep_excess, uniform_excess
from dither.laws.descent import Descent, descend, mirrors
from dither.laws.effective_rank import (
    Curvature,
    Probed,
    best_learning_rate,
    curvature,
    perturbations_per_progress,
    probe_curvature,
    probe_largest,
    stability_limit,
)
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
    "Curvature",
    "Descent",
    "Estimated",
    "Interval",
    "PredictedCurve",
    "Probed",
    "Readout",
    "Run",
    "Statistics",
    "angle_time",
    "baseline_scatter",
    "best_baseline_amplitude",
    "best_central_amplitude",
    "best_learning_rate",
    "central_bias",
    "central_scatter",
    "cosine",
    "crossing",
    "curvature",
    "curvature_square",
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
    "perturbations_per_progress",
    "power_law_fit",
    "predicted_curve",
    "probe_curvature",
    "probe_largest",
    "quantised_readout",
    "ridge_readout",
    "split_kappa",
    "stability_limit",
    "statistics_of",
    "sweep_excess",
    "ticks_to_angle",
    "uniform_excess",
    "weight_angle_time",
    "weight_variances",
]
