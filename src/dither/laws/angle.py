"""The time until a layer-by-layer estimate points along the gradient of a network."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dither.contract import Parameters
from dither.laws.estimate import ticks_to_angle
from dither.laws.layerwise import (
    layerwise_kappa,
    measurement_kappa,
    optimal_kappa,
    weight_variances,
)
from dither.laws.node import check_probes, from_draws, squared_estimates
from dither.networks import AbstractNetwork

Costs: TypeAlias = Callable[[Float[Array, "B K"]], Float[Array, " B"]]
"""From a batch's outputs to the cost of each example."""


COMPILED_FOR_ONE_RUN = {"xla_backend_optimization_level": 0}
"""Compiler options for programs that run once, where optimisation takes longer than the run."""


class AngleTime(NamedTuple):
    """The time until the estimate is within an angle of the gradient.

    Attributes: `kappa` of one iteration, which perturbs each layer once; `iterations`;
    `measurements`, 2 L per iteration; `split_measurements`, with the optimal split over the layers;
    `relative_error`, the standard error of kappa from probes over kappa (0 where exact).
    """

    kappa: float
    iterations: float
    measurements: float
    split_measurements: float
    relative_error: float = 0.0


def angle_time(
    squared_gradients: Float[np.ndarray, " L"],
    variances: Float[np.ndarray, " L"],
    degrees: float = 15.0,
    standard_errors: Float[np.ndarray, " L"] | None = None,
) -> AngleTime:
    """The iterations and measurements of the layer-by-layer scheme to an angle with the gradient.

    `iterations = kappa / tan²(angle)`, `kappa = Σ_l v_l / |g|²`, two measurements per layer and
    iteration; with the optimal split `2 (Σ_l √v_l)² / (|g|² tan²(angle))` measurements.

    Arguments: `squared_gradients`, |g_l|²; `variances`, v_l, of one estimate of each layer, as from
    `weight_variances` or `node_variances`; `degrees`, in (0, 90); `standard_errors` of the
    variances. Errors: `RequestError` for a zero gradient or an angle outside.
    Source: derived here for the scheme of Oripov2025, figure 3.
    """
    kappa = layerwise_kappa(squared_gradients, variances)
    iterations = ticks_to_angle(kappa, degrees)
    spread = 0.0 if standard_errors is None else float(np.sqrt(np.sum(standard_errors**2)))
    return AngleTime(
        kappa,
        iterations,
        measurement_kappa(iterations, len(variances)),
        2 * ticks_to_angle(optimal_kappa(squared_gradients, variances), degrees),
        spread / float(np.sum(variances)),
    )


def layers_of(parameters: Parameters) -> dict[str, list[str]]:
    """The parameters' names by layer: `dense0` has `dense0/weight` and `dense0/bias`."""
    layers: dict[str, list[str]] = {}
    for name in parameters:
        layers.setdefault(name.rsplit("/", 1)[0], []).append(name)
    return layers


def weight_angle_time(gradient: Mapping[str, Array], degrees: float = 15.0) -> AngleTime:
    """The time to an angle by layer-by-layer weight perturbation, from a gradient.

    Arguments: `gradient` of the mean cost, an array under each parameter's name; `degrees`.
    Returns and errors: as for `angle_time`. Source: derived here.
    """
    squared, sizes = squares_and_sizes(gradient)
    return angle_time(squared, weight_variances(squared, sizes), degrees)


def squares_and_sizes(
    gradient: Mapping[str, Array],
) -> tuple[Float[np.ndarray, " L"], Int[np.ndarray, " L"]]:
    """|g_l|² and the number of parameters of every layer."""
    layers = layers_of(dict(gradient)).values()
    squared = [sum(float(jnp.sum(gradient[n] ** 2)) for n in names) for names in layers]
    return np.array(squared), np.array([sum(gradient[n].size for n in own) for own in layers])


@partial(jax.jit, static_argnames=("network", "costs"), compiler_options=COMPILED_FOR_ONE_RUN)
def exact_gradient(
    network: AbstractNetwork, parameters: Parameters, inputs: Float[Array, "B ..."], costs: Costs
) -> Parameters:
    """The gradient of a batch's mean cost by backpropagation, compiled for a single use."""

    def cost(parameters: Parameters) -> Float[Array, ""]:
        return jnp.mean(costs(network(parameters, inputs)))

    gradient: Parameters = jax.grad(cost)(parameters)
    return gradient


def node_angle_time(
    key: Key[Array, ""],
    network: AbstractNetwork,
    parameters: Parameters,
    inputs: Float[Array, "B ..."],
    costs: Costs,
    degrees: float = 15.0,
    per_example: bool = False,
    probes: int = 256,
) -> AngleTime:
    """The time to an angle by layer-by-layer node perturbation, from exact errors and probes.

    Arguments: the network, its parameters, a batch of inputs; `costs`, from outputs to one cost an
    example; `degrees`; `per_example` and `probes` as for `node_variance`.
    Returns and errors: as for `angle_time`. Source: derived here.
    """
    check_probes(probes)
    squared, draws = _probed(key, network, parameters, inputs, costs, per_example, probes)
    squared = np.asarray(squared, float)
    found = [from_draws(d, g) for d, g in zip(np.asarray(draws, float), squared)]
    variances, spreads = np.array(found).T
    return angle_time(squared, variances, degrees, spreads)


@partial(
    jax.jit,
    static_argnames=("network", "costs", "per_example", "probes"),
    compiler_options=COMPILED_FOR_ONE_RUN,
)
def _probed(
    key: Key[Array, ""],
    network: AbstractNetwork,
    parameters: Parameters,
    inputs: Float[Array, "B ..."],
    costs: Costs,
    per_example: bool,
    probes: int,
) -> tuple[Float[Array, " L"], Float[Array, "L probes"]]:
    """|g_l|² of every layer, and draws of |G_l|²."""
    layers, batch, sites = layers_of(parameters), inputs.shape[0], network.sites()

    def cost(shifts: Mapping[str, Array]) -> Float[Array, ""]:
        def shift(site: str, value: Array) -> Array:
            layer, place = site.rsplit("/", 1)
            return value + shifts[layer] if place == "z" else value

        return jnp.sum(costs(network(parameters, inputs, shift)))

    def site_value(own: Parameters, layer: str) -> Array:
        seen = {}

        def record(site: str, value: Array) -> Array:
            seen[site] = value
            return value

        network(parameters | own, inputs, record)
        return seen[f"{layer}/z"]

    zero = {layer: jnp.zeros((batch, *sites[f"{layer}/z"]), inputs.dtype) for layer in layers}
    errors, squared, draws = jax.grad(cost)(zero), [], []
    for number, (layer, names) in enumerate(layers.items()):
        own = {name: parameters[name] for name in names}
        _, vjp = jax.vjp(lambda own, layer=layer: site_value(own, layer), own)

        def pullback(e: Array, vjp: Callable[..., tuple[Parameters]] = vjp) -> Array:
            return jnp.concatenate([jnp.ravel(g) for g in vjp(e)[0].values()])

        e, mine = errors[layer], jax.random.fold_in(key, number)
        squared.append(jnp.sum((pullback(e) / batch) ** 2))
        draws.append(squared_estimates(mine, e, pullback, probes, per_example))
    return jnp.stack(squared), jnp.stack(draws)
