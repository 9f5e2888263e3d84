"""The layers of a lab's object whose neurons can be perturbed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dither._errors import RequestError, nearest

if TYPE_CHECKING:
    from dither.contract import Layer

OUTPUTS = ("identity", "tanh", "sigmoid")
"""Activations from whose value z can be computed."""


@dataclass(frozen=True)
class Neurons:
    """A layer `z = x W + b`, at one or several positions.

    Arguments: `name`; `weight`, the shape (p, q) of W; `positions`, the shape of those at which the
    same W is used, () for a dense layer.
    """

    name: str
    weight: tuple[int, int]
    positions: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """The shape of x for one example."""
        return (*self.positions, self.weight[0])

    @property
    def nodes(self) -> tuple[int, ...]:
        """The shape of z for one example."""
        return (*self.positions, self.weight[1])


def neurons_of(
    device: str,
    positions: Mapping[str, tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Neurons, ...]:
    """The layers that a device declares.

    Arguments: the device's name; the positions of each layer by name; the shapes of its parameters.
    Errors: `RequestError` for a layer without weight and bias.
    """
    found = []
    for name, where in positions.items():
        weight = shapes.get(f"{name}/weight", ())
        if len(weight) != 2 or shapes.get(f"{name}/bias") != weight[1:]:
            raise RequestError(
                f"The device {device} has a layer {name} but not its parameters '{name}/weight' of "
                f"shape (p, q) and '{name}/bias' of shape (q,); name them in `parameters`."
            )
        found.append(Neurons(name, (weight[0], weight[1]), where))
    return tuple(found)


def as_layers(neurons: tuple[Neurons, ...], output: str | None) -> "tuple[Layer, ...]":
    """The layers in the form for algorithms; `output` names the activation of the last one."""
    import jax.numpy as jnp
    from jax.scipy.special import logit

    from dither.contract import Layer
    from dither.networks.network import ACTIVATIONS, at_positions, dense

    near = 1e-6  # noise may take an output to the limits of its activation and beyond
    inverses = {
        "identity": lambda y: y,
        "tanh": lambda y: jnp.arctanh(jnp.clip(y, near - 1, 1 - near)),
        "sigmoid": lambda y: logit(jnp.clip(y, near, 1 - near)),
    }
    layers = [Layer(n.name, n.nodes, at_positions if n.positions else dense) for n in neurons]
    if layers and output is not None:
        f, inverse = ACTIVATIONS[output], inverses[output]
        layers[-1] = replace(layers[-1], activation=f, from_output=inverse)
    return tuple(layers)


def output_of(device: str, output: Any) -> str | None:
    """The activation that a device names for its last layer. Errors: `RequestError`."""
    if output is not None and output not in OUTPUTS:
        raise RequestError(
            f"The device {device} has output_activation {output!r}; {nearest(str(output), OUTPUTS)}"
        )
    return output if output is None else str(output)


def positions_of(device: str, layers: Any) -> dict[str, tuple[int, ...]]:
    """The positions of each layer, from a device's `layers`: dense layers' names, or a table.

    Errors: `RequestError` for other values.
    """
    named = not isinstance(layers, str) and isinstance(layers, Iterable)
    names = list(layers) if named else [None]
    table = layers if isinstance(layers, Mapping) else {}
    found = {name: _shape(table.get(name, ())) for name in names if isinstance(name, str)}
    if len(found) < len(names) or None in found.values():
        raise RequestError(
            f"The device {device} has layers {layers!r}; give the names of dense layers, such as "
            '("dense0", "dense1"), or a table of positions, such as {"conv0": (26, 26), '
            '"dense0": ()}.'
        )
    return {name: shape for name, shape in found.items() if shape is not None}


def _shape(given: Any) -> tuple[int, ...] | None:
    """A shape of positive integers, or None."""
    sizes = (given,) if isinstance(given, int) else given
    if not isinstance(sizes, tuple | list):
        return None
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        return None
    return tuple(sizes)
