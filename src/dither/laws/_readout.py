"""The error of a readout y = Σ_i w_i x_i, and what flipping one weight does to it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped


class ReadoutColumns(NamedTuple):
    """What is computed once: the target t; each x, its mean, a² = |x|², b = ⟨x, t⟩."""

    target: Float[Array, " T"]
    x: Float[Array, "N T"]
    mean: Float[Array, " N"]
    squared: Float[Array, " N"]
    overlap: Float[Array, " N"]


class ReadoutOutput(NamedTuple):
    """What is known of one output or of many: its error f, p = ⟨y, t⟩, q = |y|², its mean."""

    f: Float[Array, "..."]
    p: Float[Array, "..."]
    q: Float[Array, "..."]
    mean: Float[Array, "..."]


class ReadoutNoise(NamedTuple):
    """The noise of measurements, in units of its standard deviation per sample.

    Two of its coordinates, along what the error looks at, and the squared length of the rest.
    """

    first: Float[Array, " tests"]
    second: Float[Array, " tests"]
    rest: Float[Array, " tests"]


class SquaredError:
    """`f = |t − y|²`."""

    constrained = 0
    """Coordinates of the noise that do not count."""

    @staticmethod
    def centred(y: Float[Array, " T"]) -> Float[Array, " T"]:
        """What of a trace the error looks at."""
        return y

    @classmethod
    def columns(cls, x: Float[Array, "N T"], target: Float[Array, " T"]) -> ReadoutColumns:
        """What is computed once."""
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
        """The fall of the error by each of n flips, and what is known of the output after it."""
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
        """What of a trace the error looks at."""
        return y - y.mean()

    @classmethod
    def columns(cls, x: Float[Array, "N T"], target: Float[Array, " T"]) -> ReadoutColumns:
        """What is computed once."""
        known = SquaredError.columns(x, cls.centred(target) / jnp.linalg.norm(cls.centred(target)))
        wide = x.astype(jnp.float32) - known.mean[:, None]
        return known._replace(squared=jnp.sum(wide**2, axis=1))

    @classmethod
    def of(cls, known: ReadoutColumns, y: Float[Array, " T"]) -> ReadoutOutput:
        """The error of an output, from what is left of t beside y: 1 − c² loses no digits."""
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
        """The fall of the error by each of n flips, and what is known of the output after it."""
        overlap, squared = at(known.overlap, i), at(known.squared, i)
        p = now.p + s * overlap
        q = now.q + 2 * s * (x @ y) + squared
        before, c = cls._correlation(known, now.p, now.q), cls._correlation(known, p, q)
        g = now.p / jnp.maximum(now.q, cls._least(known))
        left = cls._left(known, now.p, now.q, y)
        rise = (2 * s * now.p * (x @ left) + overlap**2 - g * now.p * squared) / q
        # near the end the rise of c² keeps the digits that c − before loses
        fall = 2 * jnp.where((before > 0.6) & (c > 0.6), rise / (before + c), c - before)
        return fall, ReadoutOutput(now.f - fall, p, q, jnp.zeros_like(p))

    @staticmethod
    def measured(
        output: ReadoutOutput, sigma: Float[Array, "..."], z: ReadoutNoise
    ) -> Float[Array, " tests"]:
        """The error with noise, drawn along t, along what of y is beside t, and the rest."""
        along = output.p + sigma * z.first
        beside = jnp.sqrt(jnp.maximum(output.q - output.p**2, 0.0)) + sigma * z.second
        length = jnp.sqrt(along**2 + beside**2 + sigma**2 * z.rest)
        return 2 * (1 - jnp.where(length > 0, along / jnp.where(length > 0, length, 1.0), 0.5))

    @classmethod
    def _left(
        cls, known: ReadoutColumns, p: Float[Array, ""], q: Float[Array, ""], y: Float[Array, " T"]
    ) -> Float[Array, " T"]:
        """t − g y, centred once more: x may have a mean, which meets what rounding left of y's."""
        return cls.centred(known.target - p / jnp.maximum(q, cls._least(known)) * y)

    @classmethod
    def _correlation(
        cls, known: ReadoutColumns, p: Float[Array, "..."], q: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        least = cls._least(known)
        return jnp.where(q > least, p / jnp.sqrt(jnp.maximum(q, least)), 0.5)

    @staticmethod
    def _least(known: ReadoutColumns) -> Float[Array, ""]:
        """What rounding makes of the |y|² of a constant output."""
        return jnp.asarray(1e-10 * known.squared.mean() + 1e-37)


ERRORS: dict[str, type[SquaredError] | type[NMSE]] = {"squared": SquaredError, "nmse": NMSE}


def draw_noise(key: Key[Array, ""], measurements: int, samples: int) -> ReadoutNoise:
    """ReadoutNoise for many measurements of an error of so many free samples, at least three.

    The squared length of the rest is chi-squared with ν = samples − 2 degrees of freedom, by
    Wilson and Hilferty's cube: `ν (1 − 2/(9ν) + z √(2/(9ν)))³`, z standard normal.
    """
    first, second, z = jax.random.normal(key, (3, measurements))
    freedom = samples - 2
    spread = 2 / (9 * freedom)
    return ReadoutNoise(first, second, freedom * (1 - spread + z * spread**0.5) ** 3)


def standard_deviation(output: ReadoutOutput, samples: int) -> Float[Array, "..."]:
    """Of an output over its samples."""
    return jnp.sqrt(jnp.maximum(output.q / samples - output.mean**2, 0.0))


def at(values: Shaped[Array, "N ..."], i: Int[Array, " n"]) -> Shaped[Array, "n ..."]:
    """The entries i, which are known to lie inside."""
    return values.at[i].get(mode="promise_in_bounds")


def times(x: Float[Array, "N T"], y: Float[Array, " T"]) -> Float[Array, " N"]:
    """⟨x_i, y⟩, summed in single precision."""
    return jnp.sum(x.astype(jnp.float32) * y, axis=1)
