"""What the algorithms that perturb neurons' inputs share."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither._errors import RequestError
from dither.devices.device import AbstractDevice
from dither.devices.python import PythonDevice
from dither.devices.space import Space
from dither.networks import Layer


def layers_of(device: AbstractDevice | PythonDevice, kind: str) -> tuple[Layer, ...]:
    """The layers of a device, of which there must be some. Errors: `RequestError`."""
    layers = device.layers if isinstance(device, AbstractDevice) else ()
    if not layers:
        raise RequestError(
            f"The algorithm {kind} perturbs the neurons of layers and the device's network names "
            "no layers; take another network or weight-mgd."
        )
    return layers


def count(layers: Sequence[Layer]) -> int:
    """N, the nodes of some layers: neurons, for a convolution output pixels times channels."""
    return sum(math.prod(layer.nodes) for layer in layers)


def signs(
    key: Key[Array, ""], layers: Sequence[Layer], samples: int | None = None
) -> dict[str, Float[Array, "..."]]:
    """Random signs s = ±1 for every node, by layer: shared by the batch, or for each sample."""
    shape = () if samples is None else (samples,)
    return {
        layer.name: jax.random.rademacher(
            jax.random.fold_in(key, number), (*shape, *layer.nodes), jnp.result_type(float)
        )
        for number, layer in enumerate(layers)
    }


def at_sites(perturbations: Mapping[str, Array]) -> dict[str, Array]:
    """Perturbations by layer as a probe takes them: by site."""
    return {f"{layer}/z": p for layer, p in perturbations.items()}


def per_node(value: Float[Array, " B"], layer: Layer) -> Float[Array, "B ..."]:
    """One number for each example, shaped to multiply the values of a layer's nodes."""
    return value.reshape(-1, *(1 for _ in layer.nodes))


def pull_back(
    layers: Sequence[Layer],
    space: Space,
    theta: Float[Array, " P"],
    inputs: Mapping[str, Array],
    errors: Mapping[str, Float[Array, "B ..."]],
) -> Float[Array, " P"]:
    """What node errors mean for the parameters: `mean_b (∂z_l/∂θ)ᵀ e_lb`.

    For a dense layer that is `mean_b x_b e_bᵀ` and `mean_b e_b`, for a convolution the kernel
    gradient of (x, e). No error passes from one layer to another.

    Arguments: the layers; the space; theta; by layer, the inputs x_b and errors e_b = ∂C_b/∂z_b.
    """

    def z(theta: Float[Array, " P"]) -> dict[str, Array]:
        parameters = space.unravel(theta)
        return {layer.name: layer(parameters, inputs[layer.name]) for layer in layers}

    _, back = jax.vjp(z, theta)
    (total,) = back(dict(errors))
    samples = next(iter(errors.values())).shape[0]
    gradient: Float[Array, " P"] = total / samples
    return gradient
