"""Adaptive steps under heavy-tailed noise."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.updates.update import AbstractUpdateAtTheta, Descend
from dither.contract import Problem


class Moments(eqx.Module):
    """The first moment m, the α-th moment v, and the number of steps."""

    m: Float[Array, " P"]
    v: Float[Array, " P"]
    made: Int[Array, ""]


class OverTheAir(AbstractUpdateAtTheta):
    """AdaGrad and Adam with the α-th moment, which exists when the second does not.

    ```
    adagrad   v ← v + |G|^α,                       θ ← θ − eta G / (v^(1/α) + epsilon)
    adam      m ← b1 m + (1 − b1) G,   v ← b2 v + (1 − b2) |G|^α,
              θ ← θ − eta m' / (v'^(1/α) + epsilon),   m' = m / (1 − b1^t),  v' = v / (1 − b2^t)
    ```

    Under α-stable noise the mean of |G|^p exists only for p < α: set `alpha` at or below that of
    the noise. With alpha = 2 the norms are AdaGrad and Adam. `eta` is that of the rule's optimiser,
    which should be plain descent.

    Arguments: `norm`, `adagrad` or `adam`; `alpha` in (1, 2]; `b1`, `b2` in [0, 1), of `adam`;
    `epsilon` > 0.

    Source: 2403.06823, adaptive federated learning over the air, recalled, not verified; the bias
    correction is Adam's.
    """

    kind: Literal["over-the-air"] = "over-the-air"
    descends: ClassVar[bool] = False
    norm: Literal["adagrad", "adam"] = "adagrad"
    alpha: Annotated[float, Field(gt=1, le=2)] = 1.5
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0)] = 1e-8

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Moments:
        del key, problem
        return Moments(jnp.zeros_like(theta), jnp.zeros_like(theta), jnp.int32(0))

    def step(
        self,
        memory: Moments,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Moments]:
        m, v, t = direction, jnp.abs(direction) ** self.alpha, memory.made + 1
        if self.norm == "adagrad":
            v = memory.v + v
            size = v ** (1 / self.alpha)
            D = m / (size + self.epsilon)
        else:
            m = self.b1 * memory.m + (1 - self.b1) * m
            v = self.b2 * memory.v + (1 - self.b2) * v
            size = (v / (1 - self.b2**t)) ** (1 / self.alpha)
            D = m / (1 - self.b1**t) / (size + self.epsilon)
        return *descend(theta, D, optimizer), Moments(m, v, t)
