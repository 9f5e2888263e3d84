"""The error of a readout y = Σ_i w_i x_i, and its change when one weight flips."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped


class ReadoutColumns(NamedTuple):
    """Precomputed quantities: the target t; each x, its mean, a² = |x|², b = ⟨x, t⟩."""

    target: Float[Array, " T"]
    x: Float[Array, "N T"]
    mean: Float[Array, " N"]
    squared: Float[Array, " N"]
    overlap: Float[Array, " N"]


class ReadoutOutput(NamedTuple):
    """Quantities of one or many outputs: the error f, p = ⟨y, t⟩, q = |y|², the mean."""

    f: Float[Array, "..."]
    p: Float[Array, "..."]
    q: Float[Array, "..."]
    mean: Float[Array, "..."]


class ReadoutNoise(NamedTuple):
    """The noise of measurements, in units of its standard deviation per sample.

    Two of its coordinates, along the directions that affect the error, and the squared length of
    the rest.
    """

    first: Float[Array, " tests"]
    second: Float[Array, " tests"]
    rest: Float[Array, " tests"]


class SquaredError:
    """`f = |t − y|²`."""

    constrained = 0
    """The number of noise coordinates without effect."""

    @staticmethod
    def centred(y: Float[Array, " T"]) -> Float[Array, " T"]:
        """The part of a trace that affects the error."""
        return y

    @classmethod
    def columns(cls, x: Float[Array, "N T"], target: Float[Array, " T"]) -> ReadoutColumns:
        """The precomputed quantities."""
        mean = jnp.mean(x, axis=1, dtype=jnp.float32)
        squared = jnp.sum(x.astype(jnp.float32) ** 2, axis=1)
        return ReadoutColumns(target, x, mean, squared, times(x, target))

    @staticmethod
    def of(known: ReadoutColumns, y: Float[Array, " T"]) -> ReadoutOutput:
        """The error of an output."""
        residual = known.target - y
        return ReadoutOutput(residual @ residual, y @ known.target, y @ y, y.mean())

    @staticmethod
    def after(
        known: ReadoutColumns,
        now: ReadoutOutput,
        y: Float[Array, " T"],
        x: Float[Array, "n T"],
        i: Int[Array, " n"],
        s: Float[Array, " n"],
    ) -> tuple[Float[Array, " n"], ReadoutOutput]:
        """The decrease of the error for each of n flips, and the output's quantities after it."""
        overlap, squared = at(known.overlap, i), at(known.squared, i)
        fall = 2 * s * (x @ (known.target - y)) - squared
        return fall, ReadoutOutput(
            now.f - fall,
            now.p + s * overlap,
            now.q + 2 * s * (x @ y) + squared,
            now.mean + s * at(known.mean, i),
        )

    @staticmethod
    def measured(
        output: ReadoutOutput, sigma: Float[Array, "..."], z: ReadoutNoise
    ) -> Float[Array, " tests"]:
        """The error with noise e: `f − 2 ⟨t − y, e⟩ + |e|²`."""
        length = z.first**2 + z.second**2 + z.rest
        root = jnp.sqrt(jnp.maximum(output.f, 0.0))
        return output.f - 2 * sigma * root * z.first + sigma**2 * length


class NMSE:
    """`f = 2 (1 − c)`, c the correlation of t and y; 1 for a constant y."""

    constrained = 1

    @staticmethod
    def centred(y: Float[Array, " T"]) -> Float[Array, " T"]:
        """The part of a trace that affects the error."""
        return y - y.mean()

    @classmethod
    def columns(cls, x: Float[Array, "N T"], target: Float[Array, " T"]) -> ReadoutColumns:
        """The precomputed quantities."""
        known = SquaredError.columns(x, cls.centred(target) / jnp.linalg.norm(cls.centred(target)))
        wide = x.astype(jnp.float32) - known.mean[:, None]
        return known._replace(squared=jnp.sum(wide**2, axis=1))

    @classmethod
    def of(cls, known: ReadoutColumns, y: Float[Array, " T"]) -> ReadoutOutput:
        """The error of an output, from the part of t orthogonal to y, so that 1 − c² is exact."""
        p, q = y @ known.target, y @ y
        c = cls._correlation(known, p, q)
        left = cls._left(known, p, q, y)
        f = jnp.where(c > 0.6, 2 * (left @ left) / (1 + c), 2 * (1 - c))
        return ReadoutOutput(f, p, q, jnp.zeros_like(p))

    @classmethod
    def after(
        cls,
        known: ReadoutColumns,
        now: ReadoutOutput,
        y: Float[Array, " T"],
        x: Float[Array, "n T"],
        i: Int[Array, " n"],
        s: Float[Array, " n"],
    ) -> tuple[Float[Array, " n"], ReadoutOutput]:
        """The decrease of the error for each of n flips, and the output's quantities after it."""
        overlap, squared = at(known.overlap, i), at(known.squared, i)
        p = now.p + s * overlap
        q = now.q + 2 * s * (x @ y) + squared
        before, c = cls._correlation(known, now.p, now.q), cls._correlation(known, p, q)
        g = now.p / jnp.maximum(now.q, cls._least(known))
        left = cls._left(known, now.p, now.q, y)
        rise = (2 * s * now.p * (x @ left) + overlap**2 - g * now.p * squared) / q
        # near the end the increase of c² is exact where a difference of c would not be
        fall = 2 * jnp.where((before > 0.6) & (c > 0.6), rise / (before + c), c - before)
        return fall, ReadoutOutput(now.f - fall, p, q, jnp.zeros_like(p))

    @staticmethod
    def measured(
        output: ReadoutOutput, sigma: Float[Array, "..."], z: ReadoutNoise
    ) -> Float[Array, " tests"]:
        """The error with noise along t, along the orthogonal part of y, and the rest."""
        along = output.p + sigma * z.first
        beside = jnp.sqrt(jnp.maximum(output.q - output.p**2, 0.0)) + sigma * z.second
        length = jnp.sqrt(along**2 + beside**2 + sigma**2 * z.rest)
        return 2 * (1 - jnp.where(length > 0, along / jnp.where(length > 0, length, 1.0), 0.5))

    @classmethod
    def _left(
        cls, known: ReadoutColumns, p: Float[Array, ""], q: Float[Array, ""], y: Float[Array, " T"]
    ) -> Float[Array, " T"]:
        """t − g y, centred again, because x may have a mean and that of y has rounding errors."""
        return cls.centred(known.target - p / jnp.maximum(q, cls._least(known)) * y)

    @classmethod
    def _correlation(
        cls, known: ReadoutColumns, p: Float[Array, "..."], q: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        least = cls._least(known)
        return jnp.where(q > least, p / jnp.sqrt(jnp.maximum(q, least)), 0.5)

    @staticmethod
    def _least(known: ReadoutColumns) -> Float[Array, ""]:
        """The rounding error of |y|² for a constant output."""
        return jnp.asarray(1e-10 * known.squared.mean() + 1e-37)


ERRORS: dict[str, type[SquaredError] | type[NMSE]] = {"squared": SquaredError, "nmse": NMSE}


def draw_noise(key: Key[Array, ""], measurements: int, samples: int) -> ReadoutNoise:
    """ReadoutNoise for many measurements of an error with `samples` free samples, at least three.

    The squared length of the rest is chi-squared with ν = samples − 2 degrees of freedom, by
    Wilson and Hilferty's cube: `ν (1 − 2/(9ν) + z √(2/(9ν)))³`, z standard normal.
    """
    first, second, z = jax.random.normal(key, (3, measurements))
    freedom = samples - 2
    spread = 2 / (9 * freedom)
    return ReadoutNoise(first, second, freedom * (1 - spread + z * spread**0.5) ** 3)


def standard_deviation(output: ReadoutOutput, samples: int) -> Float[Array, "..."]:
    """The standard deviation of an output over its samples."""
    return jnp.sqrt(jnp.maximum(output.q / samples - output.mean**2, 0.0))


def at(values: Shaped[Array, "N ..."], i: Int[Array, " n"]) -> Shaped[Array, "n ..."]:
    """The entries i, which must be in range."""
    return values.at[i].get(mode="promise_in_bounds")


def times(x: Float[Array, "N T"], y: Float[Array, " T"]) -> Float[Array, " N"]:
    """⟨x_i, y⟩, summed in single precision."""
    return jnp.sum(x.astype(jnp.float32) * y, axis=1)
