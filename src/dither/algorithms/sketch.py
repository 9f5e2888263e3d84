"""Layer inputs stored as random projections."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import GradientState, Told
from dither.codes.signs import random_signs
from dither.contract import Layer, Problem

OF_SKETCH = 1 << 30
"""The number folded into a tick's key to get the probes' key; no turn has it."""


class AbstractSketchedRule(AbstractDescentRule):
    """A rule that stores every layer's inputs, in full or sketched, until the costs are known.

    ```
    stored:     Zᵀ x_b,  for every channel,   Z = ±1/√r of shape (pixels, r),  E[Z Zᵀ] = I
    correlated: x̂_b = Z Zᵀ x_b  in place of x_b
    ```

    For a convolution this stores r numbers per channel instead of its pixels. The kernel gradient
    is linear in x, so its mean is unchanged. The probes alone give the gradient of a weight the
    variance

    ```
    (|M|² + tr M² − 2 Σ_a M_aa²) / r,    M = Σ_b e_b x_bᵀ,  e_b shifted by the weight's place
    ```

    For errors with random signs, as in a perturbation, this is about pixels / r times the variance
    due to the perturbation itself. Z is drawn from the key for each measurement, and shared by the
    examples and channels. Inputs of dense layers, and images of at most r pixels, are stored in
    full.

    Arguments: `sketch`, r ≥ 1; None to store all inputs in full.
    Errors: `RequestError` for a sketch without a convolution.

    Source: Louboutin and others, *Low-memory stochastic backpropagation with multi-channel
    randomized trace estimation*, arXiv 2106.06998, for exact errors; the variance is Hutchinson's.
    """

    sketch: Annotated[int, Field(ge=1)] | None = None

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.sketch is not None and not any(len(one.nodes) == 3 for one in problem.layers):
            raise RequestError(
                "algorithm.sketch compresses the input images of convolutions, but this "
                "network has "
                "no convolution; leave it out."
            )

    def correlated(self, problem: Problem) -> Sequence[Layer]:
        """The layers whose inputs are held."""
        return problem.layers

    def layer(self, state: GradientState) -> tuple[Int[Array, ""] | None, tuple[str, ...]] | None:
        return None, tuple(layer.name for layer in state.problem.layers)

    def inputs(self, state: GradientState, told: Told) -> Mapping[str, Array]:
        """The layers' inputs, by layer, as reconstructed from what is stored."""
        x = told.measurement.sites.inputs
        if self.sketch is None:
            return x
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.clock.tick), OF_SKETCH)
        key = jax.random.fold_in(key, state.clock.part)
        return sketched(key, state.problem.layers, x, self.sketch)


def held(shape: tuple[int, ...], sketch: int | None) -> int:
    """The stored numbers per example of a layer's input x, from its shape."""
    if sketch is None or not shortened(shape, sketch):
        return math.prod(shape)
    return sketch * shape[-1]


def shortened(shape: tuple[int, ...], sketch: int) -> bool:
    """Whether an input of this shape is an image with more pixels than probes."""
    return len(shape) == 3 and math.prod(shape[:2]) > sketch


def sketched(
    key: Key[Array, ""], layers: Sequence[Layer], inputs: Mapping[str, Array], sketch: int
) -> dict[str, Float[Array, "B ..."]]:
    """`x̂_b = Z Zᵀ x_b` for the images; other inputs are unchanged."""
    seen = dict(inputs)
    for number, layer in enumerate(layers):
        x = inputs[layer.name]
        if shortened(x.shape[1:], sketch):
            pixels = x.reshape(x.shape[0], -1, x.shape[-1])
            signs = random_signs(jax.random.fold_in(key, number), pixels.shape[1] * sketch)
            Z = signs.reshape(-1, sketch) / math.sqrt(sketch)
            kept = jnp.einsum("nr,bnp->brp", Z, pixels)
            seen[layer.name] = jnp.einsum("nr,brp->bnp", Z, kept).reshape(x.shape)
    return seen
