"""The parts of a block's outputs, each with its own change of cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dither._errors import RequestError
from dither.contract import Layer


@dataclass(frozen=True)
class Parts:
    """Groups of channels, per patch or over all patches.

    Arguments: `groups` of channels, ≥ 1; `patches`, whether each patch is a separate part.
    """

    groups: int
    patches: bool = False

    def check(self, end: Layer) -> None:
        """Check that they divide the outputs of a block's last layer. Errors: `RequestError`."""
        if end.nodes[-1] % self.groups:
            raise RequestError(
                f"The {end.nodes[-1]} channels of layer '{end.name}' cannot be divided into "
                f"{self.groups} groups; set groups to a divisor."
            )
        if self.patches and (len(end.nodes) < 2 or end.nodes != _outputs(end)):
            raise RequestError(
                f"The outputs of layer '{end.name}' have the shape {_outputs(end)} and no "
                "patches; set patches to false, or use the network mixer."
            )

    def shape(self, end: Layer) -> tuple[int, int]:
        """The numbers of patches and groups."""
        return (math.prod(end.nodes[:-1]) if self.patches else 1), self.groups

    def cut(self, h: Float[Array, "B ..."], end: Layer) -> Float[Array, "B p n g c"]:
        """A block's outputs by part: patches, pixels in each, groups, channels in each."""
        return h.reshape(
            h.shape[0], self.shape(end)[0], -1, self.groups, end.nodes[-1] // self.groups
        )

    def reached(
        self, change: Float[Array, "B p g"], onward: Sequence[Layer]
    ) -> Float[Array, "B _ _"]:
        """The changes of the parts that a node affects through the layers between it and the end.

        If these layers mix groups or patches, the changes are summed over them.
        """
        if not all(layer.patchwise for layer in onward):
            change = jnp.sum(change, axis=1, keepdims=True)
        if any(layer.groups % self.groups for layer in onward):
            change = jnp.sum(change, axis=2, keepdims=True)
        return change

    def by_layer(
        self,
        blocks: Sequence[Sequence[Layer]],
        changes: Sequence[Float[Array, "B _ _"]],
        greedy: bool,
    ) -> dict[str, Float[Array, "B _ _"]]:
        """The changes that every layer's nodes affect, summed if there are several.

        They are those of the node's own block and, if the blocks are not greedy, of later blocks.
        """
        found: dict[str, Array] = {}
        later = jnp.zeros((len(changes[0]), 1, 1))
        for block, own in reversed(list(zip(blocks, changes))):
            for number, layer in enumerate(block):
                reached = self.reached(own, block[number + 1 :])
                found[layer.name] = reached if greedy else reached + later
            later = later + jnp.sum(own, axis=(1, 2), keepdims=True)
        return found

    @staticmethod
    def per_node(reached: Float[Array, "B p g"], layer: Layer) -> Float[Array, "B ..."]:
        """One number for each node of a layer."""
        *pixels, channels = layer.nodes
        of_channels = jnp.repeat(reached, channels // reached.shape[2], axis=2)
        shape = (len(reached), math.prod(pixels), channels)
        return jnp.broadcast_to(of_channels, shape).reshape(-1, *layer.nodes)


def _outputs(end: Layer) -> tuple[int, ...]:
    """The shape of a layer's output for one example."""
    z = jax.ShapeDtypeStruct((1, *end.nodes), jnp.float32)
    shape: tuple[int, ...] = jax.eval_shape(end.onward, z).shape
    return shape[1:]
