"""Networks: forward maps with named sites."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.networks.cnn import CNN
from dither.networks.mlp import MLP
from dither.networks.network import AbstractNetwork, Parameters, Tap, glorot_uniform, no_tap

NETWORKS = registry(MLP, CNN)
"""The networks that a specification can ask for, by their kind."""

AnyNetwork = Annotated[AbstractNetwork, OneOf("network", NETWORKS)]
"""A network: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "CNN",
    "MLP",
    "NETWORKS",
    "AbstractNetwork",
    "AnyNetwork",
    "Parameters",
    "Tap",
    "glorot_uniform",
    "no_tap",
]
