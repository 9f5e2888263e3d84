"""Layer inputs that are held as random projections, not as they are."""

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
"""What the probes' key is folded from a tick's by: no turn."""


class AbstractSketchedRule(AbstractDescentRule):
    """A rule that holds every layer's inputs until their costs are known, whole or sketched.

    ```
    held:       Zᵀ x_b,  for every channel,   Z = ±1/√r of shape (pixels, r),  E[Z Zᵀ] = I
    correlated: x̂_b = Z Zᵀ x_b  in place of x_b
    ```

    A convolution then holds r numbers a channel in place of its pixels. The kernel gradient is
    linear in x, so its mean stays what it was. A weight's has, of the probes alone, the variance

    ```
    (|M|² + tr M² − 2 Σ_a M_aa²) / r,    M = Σ_b e_b x_bᵀ,  e_b shifted by the weight's place
    ```

    With errors that are random signs, as a perturbation's are, that is about pixels / r times the
    variance that the perturbation itself causes. Z is drawn anew for each measurement, from the
    key, shared by the examples and channels. Dense layers, and images of no more than r pixels, are
    held whole.

    Arguments: `sketch`, r ≥ 1; None to hold all inputs whole.
    Errors: `RequestError` for a sketch where no layer is a convolution.

    Source: Louboutin and others, *Low-memory stochastic backpropagation with multi-channel
    randomized trace estimation*, arXiv 2106.06998, for exact errors; the variance is Hutchinson's.
    """

    sketch: Annotated[int, Field(ge=1)] | None = None

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.sketch is not None and not any(len(one.nodes) == 3 for one in problem.layers):
            raise RequestError(
                "algorithm.sketch shortens the images that convolutions read and this network has "
                "no convolution; leave it out."
            )

    def correlated(self, problem: Problem) -> Sequence[Layer]:
        """The layers whose inputs are held."""
        return problem.layers

    def layer(self, state: GradientState) -> tuple[Int[Array, ""] | None, tuple[str, ...]] | None:
        return None, tuple(layer.name for layer in state.problem.layers)

    def inputs(self, state: GradientState, told: Told) -> Mapping[str, Array]:
        """The layers' inputs, by layer, as what is held tells them."""
        x = told.measurement.sites.inputs
        if self.sketch is None:
            return x
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.clock.tick), OF_SKETCH)
        key = jax.random.fold_in(key, state.clock.part)
        return sketched(key, state.problem.layers, x, self.sketch)


def held(shape: tuple[int, ...], sketch: int | None) -> int:
    """How many numbers are held of one example's input x of a layer, from its shape."""
    if sketch is None or not shortened(shape, sketch):
        return math.prod(shape)
    return sketch * shape[-1]


def shortened(shape: tuple[int, ...], sketch: int) -> bool:
    """Whether an input of this shape is an image of more pixels than probes."""
    return len(shape) == 3 and math.prod(shape[:2]) > sketch


def sketched(
    key: Key[Array, ""], layers: Sequence[Layer], inputs: Mapping[str, Array], sketch: int
) -> dict[str, Float[Array, "B ..."]]:
    """`x̂_b = Z Zᵀ x_b` for the images, the other inputs as they are."""
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
