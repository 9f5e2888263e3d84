"""Two small networks that learn the step from the gradient estimates."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.layers import layer_of
from dither.algorithms.updates.history import Queue
from dither.algorithms.updates.update import AbstractUpdateAtTheta, Descend
from dither.contract import Problem

Weights: TypeAlias = dict[str, Array]

SMALLEST = 1e-30
"""The divisor for estimates of 0."""


class Learned(eqx.Module):
    """The queue of estimates, the layer of every parameter, the networks' φ, Adam's state for φ."""

    queue: Queue
    layers: Int[Array, " P"]
    phi: Weights
    adam: Any


class FastSlow(AbstractUpdateAtTheta):
    """A fast network on the present estimate and a slow one on the last estimates make the step.

    ```
    x_t = G_t / s,   s the root of the mean square of the last l estimates, all parameters together
    fast   f = c · tanh(a x_t + b)
    slow   r ← tanh(u x + U r + e)   over x_{t−l+1} … x_t, from r = 0;   e, embedding of the layer
    h_t = s (x_t + f + w · r),       θ ← θ − eta h_t  (or an Optax update)
    once G_{t+1} is measured:   φ ← φ − Adam(∂L/∂φ),   ∂L/∂φ = −eta ⟨G_{t+1}, ∂h_t/∂φ⟩
    ```

    φ = (a, b, c, u, U, e, w) is common to all parameters, except for e, which is one for each
    layer. c and w are 0 at the start, which is plain descent. The gradient of φ needs no extra
    measurements and no backward pass through the device. Adam makes it independent of the size of
    eta.

    Arguments: `length`, l ≥ 1; `width` ≥ 1, of either network; `meta_rate` ≥ 0, that of Adam; at 0
    the update remains plain descent.

    Source: *Fast and slow gradient approximation for binary neural network optimization*,
    2412.11777, recalled, not verified; a plain recurrent network replaces theirs.
    """

    kind: Literal["fast-slow"] = "fast-slow"
    descends: ClassVar[bool] = False
    length: Annotated[int, Field(ge=1)] = 5
    width: Annotated[int, Field(ge=1)] = 8
    meta_rate: Annotated[float, Field(ge=0)] = 1e-3

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Learned:
        layers, k = layer_of(problem.space), self.width
        shapes = {"a": (k,), "b": (k,), "u": (k,), "U": (k, k), "e": (int(layers.max()) + 1, k)}
        keys = jax.random.split(key, len(shapes))
        phi = {
            name: jax.random.normal(mine, shape, theta.dtype) / jnp.sqrt(k)
            for mine, (name, shape) in zip(keys, shapes.items())
        }
        phi |= dict.fromkeys("cw", jnp.zeros(k, theta.dtype))
        adam = optax.adam(self.meta_rate).init(phi)
        return Learned(Queue.empty(self.length, theta), jnp.asarray(layers, jnp.int32), phi, adam)

    def step(
        self,
        memory: Learned,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Learned]:
        def loss(phi: Weights) -> Float[Array, ""]:
            """−⟨G_{t+1}, h_t⟩, without the factor eta."""
            return -jnp.vdot(direction, _made(phi, memory.queue.estimates, memory.layers))

        learned, adam = optax.adam(self.meta_rate).update(
            jax.grad(loss)(memory.phi), memory.adam, memory.phi
        )
        phi, queue = optax.apply_updates(memory.phi, learned), memory.queue.after(direction)
        h = _made(phi, queue.estimates, memory.layers)
        return *descend(theta, h, optimizer), Learned(queue, memory.layers, phi, adam)


def _made(
    phi: Weights, estimates: Float[Array, "l P"], layers: Int[Array, " P"]
) -> Float[Array, " P"]:
    """h from the last estimates, the newest first."""
    s = jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(estimates))), SMALLEST)
    x = estimates / s
    r = jnp.zeros((layers.size, phi["b"].size), estimates.dtype)
    for past in x[::-1]:
        r = jnp.tanh(past[:, None] * phi["u"] + r @ phi["U"] + phi["e"][layers])
    fast = jnp.tanh(x[0][:, None] * phi["a"] + phi["b"]) @ phi["c"]
    h: Float[Array, " P"] = s * (x[0] + fast + r @ phi["w"])
    return h
