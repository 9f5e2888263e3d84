"""Photonic reservoir: diffractively coupled cos² neurons on a spatial light modulator."""

import math
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Key
from pydantic import Field, model_validator

from dither.networks.reservoir import AbstractReservoir

Bits = Annotated[int, Field(ge=1, le=16)]


class PhotonicSpecimen(eqx.Module):
    """The couplings of one photonic reservoir.

    Attributes: `kernel`, K, the coupling of neuron (row, column) to each place of its
    neighbourhood, row by row; `input_weights`, Win; `offsets`, theta.
    """

    kernel: Complex[Array, "places side side"]
    input_weights: Float[Array, " N"]
    offsets: Float[Array, " N"]


class PhotonicReservoir(AbstractReservoir):
    """Pixels of a spatial light modulator, coupled by diffraction on a √N × √N grid.

    `E_i(n+1) = cos(2π [beta alpha |Σ_j K_ij E_j(n)|² + gamma Win_i u(n+1) + theta_i])`,
    `x_i = E_i²`

    K covers the (2 radius + 1)² neighbourhood, with amplitudes U(0, 1), phases U(0, 2π) and rows of
    unit norm. Win ~ U(0, 1). theta is one of two `offsets`, which lie on the two slopes of cos² and
    thus replace weights of both signs.

    Arguments: `neurons`, N, a square number; `radius` of the neighbourhood; `boundary` of the grid,
    `zero` (no light from outside) or `periodic`; `alpha` and `beta`, loss and feedback strength;
    `gamma`, input strength; `offsets`, of which the second applies to the share `second_share` of
    the neurons; `slm_bits`, for a modulator with 2^bits levels of E in [−1, 1]; `camera_bits`, for
    a camera with 2^bits levels of x in [0, 1].
    Source: Bueno2018, Andreoli2020; equation and constants recalled.
    """

    kind: Literal["photonic"] = "photonic"
    neurons: Annotated[int, Field(ge=1)] = 961
    radius: Annotated[int, Field(ge=0)] = 2
    boundary: Literal["zero", "periodic"] = "zero"
    alpha: Annotated[float, Field(ge=0)] = 0.2
    beta: Annotated[float, Field(ge=0)] = 0.8
    gamma: float = 0.4
    offsets: tuple[float, float] = (0.17, 0.43)
    second_share: Annotated[float, Field(ge=0, le=1)] = 0.45
    slm_bits: Bits | None = None
    camera_bits: Bits | None = None

    @model_validator(mode="after")
    def _fits_a_grid(self) -> "PhotonicReservoir":
        if self._side**2 != self.neurons:
            raise ValueError(f"neurons must be a square number, such as {self._side**2}")
        if self._width > self._side:
            raise ValueError(
                f"a neighbourhood of {self._width} × {self._width} is larger than the grid of "
                f"{self._side} × {self._side}"
            )
        return self

    @property
    def _side(self) -> int:
        return math.isqrt(self.neurons)

    @property
    def _width(self) -> int:
        return 2 * self.radius + 1

    def fabricate(self, key: Key[Array, ""]) -> PhotonicSpecimen:
        for_amplitude, for_phase, for_input, for_offset = jax.random.split(key, 4)
        shape = (self._width**2, self._side, self._side)
        amplitude = jax.random.uniform(for_amplitude, shape, jnp.float32)
        phase = jax.random.uniform(for_phase, shape, jnp.float32, 0.0, 2 * np.pi)
        inside = jnp.stack(self._neighbours(jnp.ones(shape[1:], jnp.float32)))
        kernel = inside * amplitude * jnp.exp(1j * phase)
        kernel = kernel / jnp.linalg.norm(kernel, axis=0)
        second = jnp.arange(self.neurons) < round(self.second_share * self.neurons)
        offsets = jnp.where(second, self.offsets[1], self.offsets[0]).astype(jnp.float32)
        return PhotonicSpecimen(
            kernel=kernel,
            input_weights=jax.random.uniform(for_input, (self.neurons,), jnp.float32),
            offsets=jax.random.permutation(for_offset, offsets),
        )

    def step(
        self, instance: PhotonicSpecimen, E: Float[Array, " N"], u: Float[Array, ""]
    ) -> Float[Array, " N"]:
        grid = E.reshape(self._side, self._side)
        # shifted sums of real numbers: a stack of complex neighbours would go through memory
        neighbours = self._neighbours(grid)
        real = sum(k * near for k, near in zip(instance.kernel.real, neighbours))
        imaginary = sum(k * near for k, near in zip(instance.kernel.imag, neighbours))
        intensity = (real**2 + imaginary**2).ravel()
        phase = (
            self.beta * self.alpha * intensity
            + self.gamma * instance.input_weights * u
            + instance.offsets
        )
        return _one_of(jnp.cos(2 * np.pi * phase), self.slm_bits, low=-1.0)

    def measured(self, E: Float[Array, "*T N"]) -> Float[Array, "*T N"]:
        return _one_of(E**2, self.camera_bits, low=0.0)

    def _neighbours(self, grid: Float[Array, "side side"]) -> list[Float[Array, "side side"]]:
        """The value at each place of each neuron's neighbourhood."""
        mode = "wrap" if self.boundary == "periodic" else "constant"
        wide, side, width = jnp.pad(grid, self.radius, mode=mode), self._side, self._width
        return [wide[y : y + side, x : x + side] for y in range(width) for x in range(width)]


def _one_of(values: Float[Array, "*T N"], bits: int | None, low: float) -> Float[Array, "*T N"]:
    """The nearest of 2^bits equally spaced levels from low to 1."""
    if bits is None:
        return values
    step = (1 - low) / (2**bits - 1)
    return jnp.asarray(low + step * jnp.round((values - low) / step))
