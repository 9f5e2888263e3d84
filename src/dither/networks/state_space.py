"""Diagonal linear state-space model."""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.contract import Layer, Parameters
from dither.networks.network import AbstractNetwork, Tap, dense, glorot_uniform, no_tap, through
from dither.networks.recurrent import inputs_over_time, last_step


class StateSpace(AbstractNetwork):
    """Independent states that decay and rotate, driven by the input, with a nonlinear readout.

    `s_t = λ s_{t−1} + √(1 − |λ|²) u_t B`, `λ = exp(−exp(decay) + i angle)`, `s_{−1} = 0`; outputs
    `tanh(s_{T−1} V + b) W + c`

    |λ| < 1 for all parameters. A complex state counts as two neurons, its real parts first: the
    layer `states` has z = a of shape (T, 2 states), or (T, states) without `turning`; then the
    dense layers `hidden` and `readout`. Decays start with memories `1 / exp(decay)` log-uniform
    from 1 to T steps, angles uniform in (−π/2, π/2).

    Arguments: `steps`, T; `features` of a step; `states`; `turning`, whether they are complex;
    `hidden`, the neurons of the readout; `classes`, the number of outputs.

    Source: the parametrisation and scaling are those of the linear recurrent unit (Orvieto et al.,
    arXiv 2303.06349), recalled.
    """

    kind: Literal["state-space"] = "state-space"
    steps: Annotated[int, Field(ge=1, examples=[4])]
    features: Annotated[int, Field(ge=1, examples=[2])] = 1
    states: Annotated[int, Field(ge=1, examples=[3])] = 16
    turning: bool = True
    hidden: Annotated[int, Field(ge=1, examples=[5])] = 16
    classes: Annotated[int, Field(ge=1)] = 2

    @property
    def _width(self) -> int:
        return 2 * self.states if self.turning else self.states

    def init(self, key: Key[Array, ""]) -> Parameters:
        decay, angle, into, hidden, out = jax.random.split(key, 5)
        n, m = self.states, self._width
        parameters = {"states/decay": -math.log(self.steps) * jax.random.uniform(decay, (n,))}
        if self.turning:
            parameters["states/angle"] = math.pi * (jax.random.uniform(angle, (n,)) - 0.5)
        return parameters | {
            "states/weight": glorot_uniform(into, (self.features, m)),
            "hidden/weight": glorot_uniform(hidden, (m, self.hidden)),
            "hidden/bias": jnp.zeros(self.hidden),
            "readout/weight": glorot_uniform(out, (self.hidden, self.classes)),
            "readout/bias": jnp.zeros(self.classes),
        }

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        u = inputs.reshape(inputs.shape[0], *self.input_shape)
        x = inputs_over_time(self.layers[0], parameters, u, tap)
        return through(self.layers, parameters, x, tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        forward = _turn_and_decay if self.turning else _decay
        return (
            Layer("states", (self.steps, self._width), forward, onward=last_step),
            Layer("hidden", (self.hidden,), dense, jnp.tanh),
            Layer("readout", (self.classes,), dense),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.steps, self.features)

    @property
    def outputs(self) -> int:
        return self.classes


def _decay(own: Parameters, x: Float[Array, "B T m"]) -> Float[Array, "B T n"]:
    """`z_t = λ s_{t−1} + √(1 − λ²) u_t B`."""
    rate, features = jnp.exp(own["decay"]), own["weight"].shape[0]
    u, s = x[..., :features], x[..., features:]
    return jnp.exp(-rate) * s + _scale(rate) * jnp.dot(u, own["weight"])


def _turn_and_decay(own: Parameters, x: Float[Array, "B T m"]) -> Float[Array, "B T n"]:
    """The same for complex λ and s, real parts first."""
    rate, features = jnp.exp(own["decay"]), own["weight"].shape[0]
    u, s = x[..., :features], x[..., features:]
    c, d = jnp.exp(-rate) * jnp.cos(own["angle"]), jnp.exp(-rate) * jnp.sin(own["angle"])
    re, im = jnp.split(s, 2, axis=-1)
    turned = jnp.concatenate([c * re - d * im, d * re + c * im], axis=-1)
    return turned + jnp.tile(_scale(rate), 2) * jnp.dot(u, own["weight"])


def _scale(rate: Float[Array, " n"]) -> Float[Array, " n"]:
    """`√(1 − |λ|²)`, which keeps the states as large as the inputs for any decay."""
    return jnp.sqrt(-jnp.expm1(-2 * rate))
