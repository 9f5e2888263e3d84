"""A lab's object, and what it can do, found out once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither.instruments.mirrors import Mirrors
from dither.instruments.protocols import (
    Flippable,
    HasSafeState,
    MeasuresBlocks,
    MeasuresCost,
    MeasuresOutputs,
    MeasuresSites,
    Reconnectable,
    Writable,
    WritableAtPlaces,
    answers_to_all,
    attribute_of,
    method_of,
)

ABILITIES = (
    Writable, WritableAtPlaces, MeasuresOutputs, MeasuresCost, MeasuresBlocks, MeasuresSites,
    HasSafeState, Reconnectable,
)  # fmt: skip


@dataclass(frozen=True)
class Handle:
    """A lab's object that is written and measured, its name, and the protocols that it follows."""

    target: Any
    name: str
    abilities: frozenset[type]

    def check(self) -> None:
        """Errors: `RequestError` where it can neither be written nor called, or not be measured."""
        if Writable not in self.abilities:
            raise RequestError(
                f"The device {self.name} has no write(theta) and is not a function "
                "f(theta, inputs); give it one of the two."
            )
        if not self.abilities & {MeasuresOutputs, MeasuresCost}:
            raise RequestError(
                f"The device {self.name} has write but neither measure(inputs) nor "
                "cost(inputs, targets); add one of them."
            )


def handle_of(target: Any) -> Handle:
    """The handle of an object, of a bench of mirrors, or of a function f(theta, inputs).

    Errors: `RequestError` for one that answers to every name, so that it is not known what it can.
    """
    name = str(attribute_of(target, "__name__", type(target).__name__))
    if not method_of(target, Writable):
        if method_of(target, Flippable):
            target = Mirrors(target, name)
        elif answers_to_all(target):
            raise RequestError(
                f"The device {name} answers to every name, as mocks and some proxies do, so that "
                "what it can do cannot be told; wrap it in a class with write and measure."
            )
        elif callable(target):
            target = _Function(target)
    return Handle(target, name, frozenset(a for a in ABILITIES if method_of(target, a)))


class _Function:
    """A function f(theta, inputs), which is told its parameters when it is measured."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        self._theta = theta

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Any:
        return self._function(self._theta.copy(), inputs)
