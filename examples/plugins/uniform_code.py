"""A code of uniform numbers in place of signs."""

import math

import jax

from dither.codes import AbstractCode


class Uniform(AbstractCode):
    """`p_i(t) ~ U(−√3, √3)`, independent, so that `<p_i p_j> = [i = j]`.

    `kappa = P − 1 + <p⁴> − 1 = P − 1/5`, since `<p⁴> = 9/5`.
    """

    def __call__(self, key, tick, size):
        now = jax.random.fold_in(key, tick)
        return math.sqrt(3) * jax.random.uniform(now, (size,), minval=-1.0)

    def power(self, size):
        return 1.0

    def kappa(self, size):
        return size - 0.2

    def peak(self):
        return math.sqrt(3)
