"""Networks: forward maps with named sites, and reservoirs driven by a series."""

from typing import Annotated

from dither._configuration import Registry
from dither.contract import Layer, Parameters
from dither.networks.cnn import CNN
from dither.networks.echo_state import EchoState, EchoStateSpecimen
from dither.networks.jax_function import JaxFunction
from dither.networks.mlp import MLP
from dither.networks.network import AbstractNetwork, Tap, glorot_uniform, no_tap
from dither.networks.photonic_reservoir import PhotonicReservoir, PhotonicSpecimen
from dither.networks.reservoir import (
    AbstractReservoir,
    Consistency,
    ConsistencyWarning,
    check_consistency,
)
from dither.networks.rnn import RNN
from dither.networks.state_noise import StateNoise
from dither.networks.state_space import StateSpace

NETWORKS = Registry("network", AbstractNetwork, globals().values())
"""The networks that a specification can ask for, by their kind."""

AnyNetwork = Annotated[AbstractNetwork, NETWORKS]
"""A network: an instance, a table with its `kind`, or the kind alone."""

RESERVOIRS = Registry("reservoir", AbstractReservoir, globals().values())
"""The reservoirs, by their kind."""

AnyReservoir = Annotated[AbstractReservoir, RESERVOIRS]
"""A reservoir: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "CNN",
    "MLP",
    "NETWORKS",
    "RESERVOIRS",
    "RNN",
    "AbstractNetwork",
    "AbstractReservoir",
    "AnyNetwork",
    "AnyReservoir",
    "Consistency",
    "ConsistencyWarning",
    "EchoState",
    "EchoStateSpecimen",
    "JaxFunction",
    "Layer",
    "Parameters",
    "PhotonicReservoir",
    "PhotonicSpecimen",
    "StateNoise",
    "StateSpace",
    "Tap",
    "check_consistency",
    "glorot_uniform",
    "no_tap",
]
