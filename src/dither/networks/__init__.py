"""Networks: forward maps with named sites."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.networks.cnn import CNN
from dither.networks.mlp import MLP
from dither.networks.network import AbstractNetwork, Parameters, Tap, glorot_uniform, no_tap

NETWORKS = registry(MLP, CNN)

AnyNetwork = Annotated[AbstractNetwork, OneOf("network", NETWORKS)]

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
