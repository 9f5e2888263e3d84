"""Networks: forward maps with named sites, and reservoirs driven by a series."""

from typing import Annotated

from dither._configuration import Registry
from dither.contract import Layer as Layer
from dither.contract import Parameters as Parameters
from dither.networks.cnn import CNN as CNN
from dither.networks.echo_state import EchoState as EchoState
from dither.networks.echo_state import EchoStateSpecimen as EchoStateSpecimen
from dither.networks.jax_function import JaxFunction as JaxFunction
from dither.networks.mixer import Mixer as Mixer
from dither.networks.mlp import MLP as MLP
from dither.networks.network import AbstractNetwork as AbstractNetwork
from dither.networks.network import Tap as Tap
from dither.networks.network import glorot_uniform as glorot_uniform
from dither.networks.network import no_tap as no_tap
from dither.networks.photonic_reservoir import PhotonicReservoir as PhotonicReservoir
from dither.networks.photonic_reservoir import PhotonicSpecimen as PhotonicSpecimen
from dither.networks.reservoir import AbstractReservoir as AbstractReservoir
from dither.networks.reservoir import Consistency as Consistency
from dither.networks.reservoir import ConsistencyWarning as ConsistencyWarning
from dither.networks.reservoir import check_consistency as check_consistency
from dither.networks.rnn import RNN as RNN
from dither.networks.state_noise import StateNoise as StateNoise
from dither.networks.state_space import StateSpace as StateSpace

NETWORKS = Registry("network", AbstractNetwork, globals().values())
"""The networks that a specification can select, by their kind."""

AnyNetwork = Annotated[AbstractNetwork, NETWORKS]
"""A network: an instance, a table with its `kind`, or the kind alone."""

RESERVOIRS = Registry("reservoir", AbstractReservoir, globals().values())
"""The reservoirs, by their kind."""

AnyReservoir = Annotated[AbstractReservoir, RESERVOIRS]
"""A reservoir: an instance, a table with its `kind`, or the kind alone."""
