"""Quantities at a point that are known only in a simulation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dither.contract import AccessLevel, Batch, Space
from dither.devices.simulated import DeviceInstance, SimulatedDevice
from dither.tasks.task import Task


class Here(eqx.Module):
    """A simulated chip at θ, for some samples: costs, exact gradients, neuron errors.

    Attributes: `theta`, as programmed; `batch`, B, the samples of a measurement of the rule;
    `cost_variance`, sigma² of a measured cost of B samples; `bend`, `(δ sᵀHs / 2)²`.
    """

    device: SimulatedDevice = eqx.field(static=True)
    task: Task
    chip: DeviceInstance
    rows: Int[Array, " M"]
    cost_variance: Float[Array, ""]
    bend: Float[Array, ""]

    @property
    def space(self) -> Space:
        """The device's parameters."""
        return self.device.space

    @property
    def theta(self) -> Float[Array, " P"]:
        """The parameters as programmed."""
        return self.chip.parameters

    @property
    def samples(self) -> int:
        """M, the number of samples used."""
        return self.rows.shape[0]

    @property
    def batch(self) -> int:
        """B, the samples of a measurement of the rule."""
        return self.task.batch

    def costs(self, theta: Float[Array, " P"], sites: Any = None) -> tuple[Array, Any]:
        """The cost of every sample, and the inputs of the layers."""
        chip = eqx.tree_at(lambda c: c.parameters, self.chip, theta)
        batch = Batch(self.task.inputs[self.rows], self.task.targets[self.rows])
        see = AccessLevel.SITES
        measurement, _, _ = self.device.measure(chip, batch, self.task.cost, sites, see)
        return measurement.sites.costs, measurement.sites.inputs

    def mean_cost(self, theta: Float[Array, " P"]) -> Float[Array, ""]:
        """The mean over the samples."""
        return jnp.mean(self.costs(theta)[0])

    def gradients(self, key: Key[Array, ""]) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        """The mean gradient g, and `n = Σ_m ξ_m g_m / √M` with the covariance of the examples."""
        M = self.samples
        _, back = jax.vjp(lambda theta: self.costs(theta)[0], self.theta)
        if self.batch >= self.task.inputs.shape[0]:
            g = back(jnp.full(M, 1 / M))[0]
            return g, jnp.zeros_like(g)
        xi = jax.random.normal(key, (M,))
        weights = jnp.stack([jnp.full(M, 1 / M), (xi - jnp.mean(xi)) / jnp.sqrt(M)])
        g, n = jax.vmap(back)(weights)[0]
        return g, n

    def errors(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """By layer: the errors `e_b = ∂C_b/∂z_b` of every sample, and the inputs x_b."""
        layers = self.device.network.layers
        none = {f"{one.name}/z": jnp.zeros((self.samples, *one.nodes)) for one in layers}

        def total(sites: dict[str, Array]) -> tuple[Array, Any]:
            costs, inputs = self.costs(self.theta, sites)
            return jnp.sum(costs), inputs

        errors, inputs = jax.grad(total, has_aux=True)(none)
        return {one.name: errors[f"{one.name}/z"] for one in layers}, inputs

    def curved(
        self, scale: Float[Array, "*P"], v: Float[Array, " P"]
    ) -> tuple[Float[Array, ""], Float[Array, " P"], Float[Array, " P"]]:
        """The mean cost, its gradient, and `√D H √D v` with D the optimiser's scale."""
        root = jnp.sqrt(scale)
        both = jax.value_and_grad(self.mean_cost)
        (cost, g), (_, hessian) = jax.jvp(both, (self.theta,), (root * v,))
        return cost, g, root * hessian
