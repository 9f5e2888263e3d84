"""The base class of networks: pure forward maps with named sites."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither._configuration import Configuration
from dither.contract import Layer, Parameters

Tap: TypeAlias = Callable[[str, Array], Array]
"""A function at a network's sites: from (site, value) to the value passed on."""


def no_tap(site: str, value: Array) -> Array:
    """The tap that changes nothing."""
    del site
    return value


ActivationName: TypeAlias = Literal["tanh", "sigmoid", "relu", "gelu", "sine", "identity"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "sine": jnp.sin,
    "identity": lambda z: z,
}


SMOOTHNESS: dict[str, float] = {"relu": 1.0}
"""The number of derivatives of activations with kinks; the others have all derivatives."""


def through(
    layers: Sequence[Layer], parameters: Parameters, x: Float[Array, "..."], tap: Tap = no_tap
) -> Float[Array, "..."]:
    """The last layer's output of layers in sequence, from the input x of the first."""
    for layer in layers:
        x = tap(f"{layer.name}/x", x)
        z = tap(f"{layer.name}/z", layer(parameters, x))
        x = layer.onward(tap(f"{layer.name}/a", layer.activation(z)))
    return x


def dense(own: Parameters, x: Float[Array, "B p"]) -> Float[Array, "B q"]:
    """`z = x W + b`."""
    return jnp.dot(x, own["weight"]) + own["bias"]


def at_positions(own: Parameters, x: Float[Array, "B ... p"]) -> Float[Array, "B ... q"]:
    """`z = x W + b` at every position, such as the patches of a convolution."""
    return jnp.dot(x, own["weight"]) + own["bias"]


class AbstractNetwork(Configuration):
    """A forward map, a pure function of parameters and inputs, with named sites.

    A layer named `dense0` has three sites: `dense0/x`, its input; `dense0/z`, the neurons' inputs
    (pre-activations); `dense0/a`, the neurons' outputs. A tap receives and may change the value at
    each site: perturbations, activation defects and recordings are taps.
    """

    kind: str

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> Parameters:
        """Random initial parameters."""

    @abstractmethod
    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        """The outputs for a batch of inputs.

        Arguments: parameters, as from `init`; B inputs; a tap for the sites.
        Returns: B rows of K outputs.
        """

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input; a length if the network flattens its inputs."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """K, the number of outputs."""

    @property
    def smoothness(self) -> float:
        """The number of derivatives of the outputs by the inputs; by default infinite."""
        return math.inf

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with sites `x` and `z`, in order; by default none."""
        return ()

    @property
    def sequential(self) -> bool:
        """Whether the network equals `sequence(layers, parameters, x)`, with x in `input_shape`."""
        return False

    @property
    def fed_first(self) -> bool:
        """Whether the first layer takes the inputs directly, in `input_shape`."""
        return self.sequential

    def sites(self) -> dict[str, tuple[int, ...]]:
        """The names of the sites, with the shape of the value for one example."""
        seen: dict[str, tuple[int, ...]] = {}

        def record(site: str, value: Array) -> Array:
            seen[site] = value.shape[1:]
            return value

        def forward(key: Key[Array, ""], inputs: Float[Array, "B ..."]) -> Array:
            return self(self.init(key), inputs, record)

        jax.eval_shape(forward, jax.random.key(0), jnp.zeros((1, *self.input_shape)))
        return seen


def glorot_uniform(
    key: Key[Array, ""], shape: tuple[int, ...], gain: float = 1.0
) -> Float[Array, "..."]:
    """Weights from `U(−b, b)`, `b = gain √(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010)."""
    return gain * jax.nn.initializers.glorot_uniform()(key, shape, jnp.result_type(float))
