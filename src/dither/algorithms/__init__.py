"""Training algorithms, one file each."""

from typing import Annotated

from dither._configuration import Registry
from dither.algorithms.activity_difference import ActivityDifference
from dither.algorithms.algorithm import AbstractAlgorithm, Info, State
from dither.algorithms.analog_mgd import AnalogMGD
from dither.algorithms.backpropagation import Backpropagation
from dither.algorithms.boolean_least_squares import BooleanLeastSquares
from dither.algorithms.coordinate_descent import CoordinateDescent
from dither.algorithms.decorrelated import DecorrelatedNodePerturbation
from dither.algorithms.finite_differences import FiniteDifferences
from dither.algorithms.forward_gradient import ForwardGradient
from dither.algorithms.gradient import AbstractDescentRule, AbstractGradientRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.layerwise_mgd import LayerwiseMGD
from dither.algorithms.local_losses import LocalLosses
from dither.algorithms.node_perturbation import NodePerturbation
from dither.algorithms.optimizer import Optimizer, Schedule
from dither.algorithms.spsa import SPSA
from dither.algorithms.weight_mgd import WeightMGD
from dither.algorithms.whitened import WhitenedNodePerturbation

ALGORITHMS = Registry("algorithm", AbstractAlgorithm, globals().values())
"""The algorithms that a specification can ask for, by their kind."""

AnyAlgorithm = Annotated[AbstractAlgorithm, ALGORITHMS]
"""An algorithm: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "ALGORITHMS",
    "SPSA",
    "AbstractAlgorithm",
    "AbstractDescentRule",
    "AbstractGradientRule",
    "ActivityDifference",
    "AnalogMGD",
    "AnyAlgorithm",
    "At",
    "Backpropagation",
    "BooleanLeastSquares",
    "CoordinateDescent",
    "DecorrelatedNodePerturbation",
    "FiniteDifferences",
    "ForwardGradient",
    "GradientState",
    "Info",
    "LayerwiseMGD",
    "LocalLosses",
    "NodePerturbation",
    "Optimizer",
    "Schedule",
    "State",
    "Told",
    "WeightMGD",
    "WhitenedNodePerturbation",
]
