"""What a network is: a pure forward map with named sites."""

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
"""What sits at a network's sites: from (site, value) to the value that goes on."""


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
"""How many derivatives activations have, those of a kink included; the others have all."""


def through(
    layers: Sequence[Layer], parameters: Parameters, x: Float[Array, "..."], tap: Tap = no_tap
) -> Float[Array, "..."]:
    """The last layer's output, from the input x of the first of some layers in sequence."""
    for layer in layers:
        x = tap(f"{layer.name}/x", x)
        z = tap(f"{layer.name}/z", layer(parameters, x))
        x = layer.onward(tap(f"{layer.name}/a", layer.activation(z)))
    return x


def dense(own: Parameters, x: Float[Array, "B p"]) -> Float[Array, "B q"]:
    """`z = x W + b`."""
    return jnp.dot(x, own["weight"]) + own["bias"]


class AbstractNetwork(Configuration):
    """A forward map, a pure function of parameters and inputs, with named sites.

    A layer named `dense0` has three sites: `dense0/x`, its input; `dense0/z`, the neurons' inputs
    (pre-activations); `dense0/a`, the neurons' outputs. A tap sees and may change the value at
    each: perturbations, activation defects and recordings are all taps.
    """

    kind: str

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> Parameters:
        """Freshly drawn parameters."""

    @abstractmethod
    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        """The outputs for a batch of inputs.

        Arguments: parameters as from `init`; B inputs; a tap for the sites.
        Returns: B rows of K outputs.
        """

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input that the network takes; a flat length where it flattens."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """K, the number of outputs."""

    @property
    def smoothness(self) -> float:
        """How many derivatives the outputs have in the inputs; infinite unless it says less."""
        return math.inf

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that have the sites `x` and `z`, in order; none unless a network says so."""
        return ()

    @property
    def sequential(self) -> bool:
        """Whether it is `sequence(layers, parameters, x)`, x the inputs in `input_shape`."""
        return False

    @property
    def fed_first(self) -> bool:
        """Whether the first of the layers takes the inputs themselves, in `input_shape`."""
        return self.sequential

    def sites(self) -> dict[str, tuple[int, ...]]:
        """Every site's name with the shape of its value for one example."""
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
