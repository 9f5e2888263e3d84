"""What the algorithms that perturb neurons' inputs share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither._errors import RequestError
from dither.codes.signs import random_signs
from dither.contract import Clock, Layer, Probe, Space, keep
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice


def layers_of(device: AbstractDevice | PythonDevice, kind: str) -> tuple[Layer, ...]:
    """The layers of a device, of which there must be some. Errors: `RequestError`."""
    if not device.layers:
        raise RequestError(
            f"The algorithm {kind} perturbs the neurons of layers and the device names no layers; "
            "take another network or weight-mgd."
        )
    return device.layers


def linear_layers_of(device: AbstractDevice | PythonDevice, kind: str) -> tuple[Layer, ...]:
    """The layers of a device, all of them `z = features(x) W + b`. Errors: `RequestError`."""
    layers, shapes = layers_of(device, kind), {p.name: p.shape for p in device.space.parameters}
    for layer in layers:
        own = {name for name in shapes if name.rpartition("/")[0] == layer.name}
        linear = own == {f"{layer.name}/weight", f"{layer.name}/bias"}
        if not linear or (len(shapes[f"{layer.name}/weight"]) != 2 and layer.features is keep):
            raise RequestError(
                f"The algorithm {kind} needs layers z = features(x) W + b and '{layer.name}' is "
                "none; take node-perturbation."
            )
    return layers


def features_of(layers: Sequence[Layer], space: Space) -> dict[str, int]:
    """The number of features of every layer: of its inputs, or of a patch of them."""
    shapes = {p.name: p.shape for p in space.parameters}
    return {layer.name: math.prod(shapes[f"{layer.name}/weight"][:-1]) for layer in layers}


def rows(layer: Layer, x: Float[Array, "B ..."]) -> Float[Array, "n p"]:
    """What a layer's weights multiply: a row for each example or, for a convolution, each patch."""
    features = layer.features(x)
    found: Float[Array, "n p"] = features.reshape(-1, features.shape[-1])
    return found


def check_shows_z(device: AbstractDevice | PythonDevice, what: str) -> None:
    """Check that what goes into a device's neurons can be read. Errors: `RequestError`."""
    if isinstance(device, PythonDevice):
        raise RequestError(
            f"{what} reads what goes into the neurons, which a Python object has no way to show; "
            "take node-perturbation, or known_output = false."
        )


def from_clean_pass(state: Any) -> Any:
    """A state whose batch under way is begun again: its clean costs are stale after a drift."""
    first = Clock(tick=state.clock.tick, part=jnp.zeros_like(state.clock.part))
    return eqx.tree_at(lambda s: s.clock, state, first)


def count(layers: Sequence[Layer]) -> int:
    """N, the nodes of some layers: neurons, for a convolution output pixels times channels."""
    return sum(math.prod(layer.nodes) for layer in layers)


def signs(
    key: Key[Array, ""], layers: Sequence[Layer], samples: int | None = None
) -> dict[str, Float[Array, "..."]]:
    """Random signs s = ±1 for every node, by layer: shared by the batch, or for each sample."""
    copies = 1 if samples is None else samples
    drawn = random_signs(key, copies * count(layers))
    shape, start, found = () if samples is None else (samples,), 0, {}
    for layer in layers:
        stop = start + copies * math.prod(layer.nodes)
        found[layer.name] = drawn[start:stop].reshape(*shape, *layer.nodes)
        start = stop
    return found


def at_sites(perturbations: Mapping[str, Array]) -> dict[str, Array]:
    """Perturbations by layer as a probe takes them: by site."""
    return {f"{layer}/z": p for layer, p in perturbations.items()}


def ask_clean_then_noisy(
    state: Any, delta: float, layers: Sequence[Layer], samples: int
) -> tuple[Probe, Any]:
    """A clean pass of each batch, then one with `δ s` added to every z, s every example's own.

    Arguments: a state with `clock`, `key`, `theta` and `space`; δ; the layers; the batch size.
    Returns: the next probe, and the state whose clock has moved on.
    """
    tick, part = state.clock.tick, state.clock.part
    s = signs(jax.random.fold_in(state.key, tick), layers, samples)
    probe = Probe(
        clock=state.clock,
        parameters=state.space.snap(state.theta),
        updated=(tick > 0) & (part == 0),
        batch_index=tick,
        sites=at_sites({layer: part * delta * each for layer, each in s.items()}),
    )
    return probe, eqx.tree_at(lambda s: s.clock, state, Clock(tick=tick + part, part=1 - part))


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
