"""Activation functions that differ from neuron to neuron."""

from typing import Annotated, Literal, TypeAlias

import jax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint

Defects: TypeAlias = dict[str, dict[str, Float[Array, "..."]]]


class ActivationDefects(AbstractImperfection):
    """Scale and shift each neuron's activation, fixed for the life of an instance.

    `f(x) = L f₀(k (x − x0)) + y0`, k, L ~ N(1, sigma), x0, y0 ~ N(0, sigma) per neuron

    Arguments: `sigma` ≥ 0. Source: McCaughan2023, where f₀ is the logistic function.
    """

    kind: Literal["activation-defects"] = "activation-defects"
    sigma: Annotated[float, Field(ge=0, examples=[0.1])]

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Defects:
        sites = blueprint.sites
        defects: Defects = {}
        neurons = [site.removesuffix("/z") for site in sites if site.endswith("/z")]
        for number, neuron in enumerate(neurons):
            draw = self.sigma * jax.random.normal(
                jax.random.fold_in(key, number), (4, *sites[f"{neuron}/z"])
            )
            defects[neuron] = {"k": 1 + draw[0], "L": 1 + draw[1], "x0": draw[2], "y0": draw[3]}
        return defects

    def site(self, instance: Defects, key: Key[Array, ""], site: str, value: Array) -> Array:
        del key
        neuron, _, side = site.rpartition("/")
        if side == "z":
            return instance[neuron]["k"] * (value - instance[neuron]["x0"])
        if side == "a":
            return instance[neuron]["L"] * value + instance[neuron]["y0"]
        return value
