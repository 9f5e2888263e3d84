"""Shared functions of the algorithms that perturb neurons' inputs."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dither._errors import RequestError
from dither.codes.signs import random_signs
from dither.contract import Layer, Probe, Problem, Space, keep
from dither.networks.network import dense


def check_layers(problem: Problem, kind: str) -> None:
    """Check that a device names layers. Errors: `RequestError`."""
    if not problem.layers:
        raise RequestError(
            f"The algorithm {kind} perturbs the neurons of layers, but the device names no layers; "
            "use another network or weight-mgd."
        )


def check_linear(problem: Problem, kind: str) -> None:
    """Check that all layers are `z = features(x) W + b`. Errors: `RequestError`."""
    check_layers(problem, kind)
    shapes = {p.name: p.shape for p in problem.space.parameters}
    for layer in problem.layers:
        own = {name for name in shapes if name.rpartition("/")[0] == layer.name}
        linear = own == {f"{layer.name}/weight", f"{layer.name}/bias"}
        if (
            not linear
            or layer.patchwise
            or (len(shapes[f"{layer.name}/weight"]) != 2 and layer.features is keep)
        ):
            raise RequestError(
                f"The algorithm {kind} needs layers z = features(x) W + b, but '{layer.name}' is "
                "different; use node-perturbation."
            )


def check_shows_z(problem: Problem, what: str) -> None:
    """Check that a device's preactivations can be read. Errors: `RequestError`."""
    if not problem.shows_z:
        raise RequestError(
            f"{what} reads the neurons' preactivations, which a Python object cannot show; "
            "use node-perturbation."
        )


def check_shows_last_z(problem: Problem, what: str) -> None:
    """Check that z of the last layer can be read or computed. Errors: `RequestError`."""
    if not problem.shows_z and problem.layers[-1].from_output is None:
        raise RequestError(
            f"{what} needs the activation of the device's last layer; give the device an attribute "
            "output_activation, such as 'sigmoid', or take known_output = false."
        )


def features_of(layers: Sequence[Layer], space: Space) -> dict[str, int]:
    """The number of features of every layer: of its inputs, or of a patch of them."""
    shapes = {p.name: p.shape for p in space.parameters}
    return {layer.name: math.prod(shapes[f"{layer.name}/weight"][:-1]) for layer in layers}


def rows(layer: Layer, x: Float[Array, "B ..."]) -> Float[Array, "n p"]:
    """The features of a layer: one row per example or, for a convolution, per patch."""
    features = layer.features(x)
    found: Float[Array, "n p"] = features.reshape(-1, features.shape[-1])
    return found


def with_one(rows: Float[Array, "n p"]) -> Float[Array, "n p+1"]:
    """Rows of features with a column of 1, which the bias multiplies."""
    return jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)


def moment(layer: Layer, x: Float[Array, "B ..."]) -> Float[Array, "_ _"]:
    """`mean_b x̄_bᵀ x̄_b`, x̄_b an example's rows of features and a column of 1."""
    seen = with_one(rows(layer, x))
    mean: Float[Array, "_ _"] = seen.T @ seen / x.shape[0]
    return mean


MEMORY = 30
"""Batches over which `averaged` forgets, by default."""


def no_moments(layers: Sequence[Layer], space: Space) -> dict[str, Float[Array, "_ _"]]:
    """The moments by layer before the first batch."""
    widths = features_of(layers, space)
    return {name: jnp.zeros((p + 1, p + 1)) for name, p in widths.items()}


def averaged(
    A: Mapping[str, Float[Array, "_ _"]],
    layers: Sequence[Layer],
    inputs: Mapping[str, Array],
    batches: Float[Array, ""] | Int[Array, ""],
) -> dict[str, Float[Array, "_ _"]]:
    """The running means of `moment` by layer: `A ← A + (moment − A) / batches`."""
    return {
        layer.name: A[layer.name] + (moment(layer, inputs[layer.name]) - A[layer.name]) / batches
        for layer in layers
    }


def fitted(
    A: Float[Array, "p p"], damping: float, products: Float[Array, "p q"]
) -> Float[Array, "p q"]:
    """`(A + damping ⟨diag A⟩)⁻¹ X̄ᵀe`: the least-squares fit of e by the rows X̄, damped."""
    damped = A + damping * jnp.mean(jnp.diag(A)) * jnp.eye(len(A), dtype=A.dtype)
    fit: Float[Array, "p q"] = jax.scipy.linalg.solve(damped, products, assume_a="pos")
    return fit


def regressed(
    rows: Float[Array, "n p"], r: Float[Array, "n q"], damping: float
) -> Float[Array, "p q"]:
    """`(XᵀX + λ)⁻¹ Xᵀ r = Xᵀ (XXᵀ + λ)⁻¹ r`, the smaller one solved; λ in units of ⟨diag XᵀX⟩."""
    n, p = rows.shape
    own = damping * jnp.sum(rows**2) / p

    def solved(A: Float[Array, "m m"], b: Float[Array, "m q"]) -> Float[Array, "m q"]:
        return jax.scipy.linalg.solve(A + own * jnp.eye(len(A), dtype=A.dtype), b, assume_a="pos")

    return rows.T @ solved(rows @ rows.T, r) if n < p else solved(rows.T @ rows, rows.T @ r)


def whitened(
    space: Space, estimate: Float[Array, " P"], A: Mapping[str, Float[Array, "_ _"]], damping: float
) -> Float[Array, " P"]:
    """`(A + damping ⟨diag A⟩)⁻¹ G` for every layer, weights and biases together.

    Arguments: the space; an estimate of the gradient; by layer, the mean of `moment`; damping > 0.
    Layers without a moment keep their G.
    """
    G = space.unravel(estimate)
    steps = dict(G)
    for name, of_layer in A.items():
        weight, bias = G[f"{name}/weight"], G[f"{name}/bias"]
        both = jnp.concatenate([weight.reshape(-1, bias.size), bias[None]])
        step = fitted(of_layer, damping, both)
        steps[f"{name}/weight"] = step[:-1].reshape(weight.shape)
        steps[f"{name}/bias"] = step[-1]
    return space.ravel(steps)


def count(layers: Sequence[Layer]) -> int:
    """N, the nodes of some layers: neurons or, for a convolution, output pixels times channels."""
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
    """Perturbations by layer, converted to perturbations by site for a probe."""
    return {f"{layer}/z": p for layer, p in perturbations.items()}


def perturbed(
    key: Key[Array, ""],
    layers: Sequence[Layer],
    amplitude: Float[Array, ""],
    samples: int | None = None,
) -> dict[str, Array]:
    """`amplitude · s` at every z, by site; s for each sample, or shared by the batch."""
    return at_sites({name: amplitude * s for name, s in signs(key, layers, samples).items()})


def errors(
    layers: Sequence[Layer], change: Float[Array, " B"], probe: Probe
) -> dict[str, Float[Array, "B ..."]]:
    """`e_b = change_b p` for every layer, with p the perturbation of its z."""
    return {
        layer.name: per_node(change, layer) * probe.added[f"{layer.name}/z"] for layer in layers
    }


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
    """The parameter gradient from node errors: `mean_b (∂z_l/∂θ)ᵀ e_lb`.

    For a dense layer that is `mean_b x_b e_bᵀ` and `mean_b e_b`, for a convolution the kernel
    gradient of (x, e). No error passes from one layer to another.

    Arguments: the layers; the space; theta; by layer, the inputs x_b and errors e_b = ∂C_b/∂z_b.
    """

    parameters = space.unravel(theta)
    total = jax.tree.map(jnp.zeros_like, parameters)
    for layer in layers:
        x, e = inputs[layer.name], errors[layer.name]
        if layer.forward is dense:
            total[f"{layer.name}/weight"] = jnp.einsum("bp,bq->pq", x, e)
            total[f"{layer.name}/bias"] = jnp.sum(e, axis=0)
        else:
            own = layer.own(parameters)
            back = jax.vjp(lambda own, layer=layer, x=x: layer.forward(own, x), own)[1](e)[0]
            total |= {f"{layer.name}/{short}": g for short, g in back.items()}
    samples = next(iter(errors.values())).shape[0]
    return space.ravel(total) / samples
