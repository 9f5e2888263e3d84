"""Training algorithms, one file each."""

from typing import Annotated

from dither._configuration import Registry
from dither.algorithms.activity_difference import ActivityDifference as ActivityDifference
from dither.algorithms.algorithm import AbstractAlgorithm as AbstractAlgorithm
from dither.algorithms.algorithm import Info as Info
from dither.algorithms.algorithm import State as State
from dither.algorithms.analog_mgd import AnalogMGD as AnalogMGD
from dither.algorithms.backpropagation import Backpropagation as Backpropagation
from dither.algorithms.boolean_least_squares import BooleanLeastSquares as BooleanLeastSquares
from dither.algorithms.boolean_mgd import BooleanMGD as BooleanMGD
from dither.algorithms.coordinate_descent import CoordinateDescent as CoordinateDescent
from dither.algorithms.decorrelated import (
    DecorrelatedNodePerturbation as DecorrelatedNodePerturbation,
)
from dither.algorithms.descent_rule import AbstractDescentRule as AbstractDescentRule
from dither.algorithms.direct_feedback_alignment import (
    DirectFeedbackAlignment as DirectFeedbackAlignment,
)
from dither.algorithms.evolution import Evolution as Evolution
from dither.algorithms.feedback_alignment import FeedbackAlignment as FeedbackAlignment
from dither.algorithms.finite_differences import FiniteDifferences as FiniteDifferences
from dither.algorithms.forward_gradient import ForwardGradient as ForwardGradient
from dither.algorithms.gradient import AbstractGradientRule as AbstractGradientRule
from dither.algorithms.gradient_state import At as At
from dither.algorithms.gradient_state import GradientState as GradientState
from dither.algorithms.gradient_state import Told as Told
from dither.algorithms.layerwise_mgd import LayerwiseMGD as LayerwiseMGD
from dither.algorithms.learned_feedback import LearnedFeedback as LearnedFeedback
from dither.algorithms.local_forward_gradient import LocalForwardGradient as LocalForwardGradient
from dither.algorithms.local_losses import LocalLosses as LocalLosses
from dither.algorithms.node_perturbation import NodePerturbation as NodePerturbation
from dither.algorithms.optimizer import Optimizer as Optimizer
from dither.algorithms.optimizer import Schedule as Schedule
from dither.algorithms.physics_aware import PhysicsAware as PhysicsAware
from dither.algorithms.spsa import SPSA as SPSA
from dither.algorithms.weight_mgd import WeightMGD as WeightMGD
from dither.algorithms.whitened import WhitenedNodePerturbation as WhitenedNodePerturbation

ALGORITHMS = Registry("algorithm", AbstractAlgorithm, globals().values())
"""The algorithms that a specification can select, by their kind."""

AnyAlgorithm = Annotated[AbstractAlgorithm, ALGORITHMS]
"""An algorithm: an instance, a table with its `kind`, or the kind alone."""
