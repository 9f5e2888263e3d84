"""Echo-state reservoir: tanh neurons with sparse random coupling."""

from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from pydantic import Field, model_validator

from dither.networks.reservoir import AbstractReservoir

DENSE = 100
"""Up to this size all eigenvalues are computed; for larger ones the largest, by iteration."""


class EchoStateSpecimen(eqx.Module):
    """The couplings of one echo-state reservoir.

    Attributes: neuron i receives `weights[i, k]` times the state of neuron `sources[i, k]`;
    `input_weights`, Win; `bias`, b.
    """

    sources: Int[Array, "N degree"]
    weights: Float[Array, "N degree"]
    input_weights: Float[Array, " N"]
    bias: Float[Array, " N"]


class EchoState(AbstractReservoir):
    """Leaky tanh neurons with sparse random coupling.

    `E(n+1) = (1 − leak) E(n) + leak tanh(W E(n) + Win u(n+1) + b)`, `x = E`

    Each neuron receives from `degree` neurons, drawn with replacement; W has normal entries and is
    scaled to its `spectral_radius`. Win ~ U(−1, 1) input_scale, b ~ U(−1, 1) bias.

    Arguments: `neurons`, N; `degree`; `spectral_radius`; `input_scale`; `bias`; `leak`, in (0, 1].
    `fabricate` computes eigenvalues on the host and cannot run under `jit`.
    Source: Jaeger (2001), recalled.
    """

    kind: Literal["echo-state"] = "echo-state"
    neurons: Annotated[int, Field(ge=2)] = 400
    degree: Annotated[int, Field(ge=1)] = 10
    spectral_radius: Annotated[float, Field(ge=0)] = 0.9
    input_scale: Annotated[float, Field(ge=0)] = 1.0
    bias: Annotated[float, Field(ge=0)] = 0.2
    leak: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _degree_fits(self) -> "EchoState":
        if self.degree > self.neurons:
            raise ValueError(f"degree {self.degree} exceeds the {self.neurons} neurons")
        return self

    def fabricate(self, key: Key[Array, ""]) -> EchoStateSpecimen:
        for_sources, for_weights, for_input, for_bias = jax.random.split(key, 4)
        shape = (self.neurons, self.degree)
        sources = jax.random.randint(for_sources, shape, 0, self.neurons)
        weights = jax.random.normal(for_weights, shape, jnp.float32)
        scale = self.spectral_radius / spectral_radius(np.asarray(sources), np.asarray(weights))

        def uniform(key: Key[Array, ""], half_width: float) -> Float[Array, " N"]:
            return half_width * jax.random.uniform(key, (self.neurons,), jnp.float32, -1.0, 1.0)

        return EchoStateSpecimen(
            sources=sources,
            weights=scale * weights,
            input_weights=uniform(for_input, self.input_scale),
            bias=uniform(for_bias, self.bias),
        )

    def step(
        self, instance: EchoStateSpecimen, E: Float[Array, " N"], u: Float[Array, ""]
    ) -> Float[Array, " N"]:
        recurrent = jnp.sum(instance.weights * E[instance.sources], axis=1)
        drive = recurrent + instance.input_weights * u + instance.bias
        return (1 - self.leak) * E + self.leak * jnp.tanh(drive)

    def measured(self, E: Float[Array, "*T N"]) -> Float[Array, "*T N"]:
        return E


def spectral_radius(
    sources: Int[np.ndarray, "N degree"], weights: Float[np.ndarray, "N degree"]
) -> float:
    """The spectral radius of the matrix with these sparse rows."""
    neurons, degree = sources.shape
    rows = np.repeat(np.arange(neurons), degree)
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import eigs

    W = csr_array(
        (weights.astype(float).ravel(), (rows, sources.ravel())), shape=(neurons, neurons)
    )
    if neurons <= DENSE:
        return float(np.abs(np.linalg.eigvals(W.toarray())).max())
    # a fixed start makes the result reproducible; the largest eigenvalues are close together
    largest = eigs(W, k=1, ncv=60, tol=1e-4, v0=np.ones(neurons), return_eigenvectors=False)
    return float(np.abs(largest).max())
