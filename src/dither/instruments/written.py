"""Objects that are not written by `write`: benches whose mirrors are flipped, functions."""

import inspect
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither._numbers import real
from dither.instruments.protocols import (
    Flippable,
    Writable,
    answers_to_all,
    attribute_of,
    check_plain,
    done,
    follows,
)


def as_written(target: Any, name: str) -> Any:
    """An object as one that is written: itself, or a bench of mirrors or a function made one.

    Errors: `RequestError` for one that answers to every name, so that it cannot be told.
    """
    if follows(target, Writable):
        return target
    if follows(target, Flippable):
        return Mirrors(target, name)
    if answers_to_all(target):
        raise RequestError(
            f"The device {name} answers to every name, as mocks and some proxies do, so that what "
            "it can do cannot be told; wrap it in a class with write and measure."
        )
    return _Function(target) if callable(target) else target


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


class Mirrors:
    """Turns an object with `flip(i)` into one with `write`, by flipping what differs.

    The object has `parameters`, N, the number of its mirrors; `flip(i)`, which turns mirror i over;
    and either `error()`, one number, or `output()`, the T readings of the training series, or
    `output(inputs)`, the same for the series that it is handed. Without inputs, the training part
    stands in for the test part. It may have `weights`, the N states 0 or 1 that it is in. Without
    it, the state in which it is handed over counts as 0 throughout, to which it must be brought
    back before a run is resumed.
    """

    bounds = (0.0, 1.0)
    bits = 1

    def __init__(self, target: Any, name: str) -> None:
        self.target, self.name = target, name
        self.parameters = attribute_of(target, "parameters")
        if not isinstance(self.parameters, int | np.integer):
            raise RequestError(
                f"The device {name} has flip(i) but does not say how many mirrors; give "
                "it an attribute `parameters`, an integer."
            )
        check_plain(target, ("flip", "output", "error"), name)
        self._held = np.zeros(int(self.parameters))
        self.initial = self._present()
        self._output, self._error = attribute_of(target, "output"), attribute_of(target, "error")
        self.fed = self._output is None or len(inspect.signature(self._output).parameters) > 0
        if self._output is not None:
            self.measure = self._measure
        elif self._error is not None:
            self.cost, self.task = self._cost, "own-error"
        else:
            raise RequestError(
                f"The device {name} has flip(i) but neither error() nor output(); add one of them."
            )
        self.safe = attribute_of(target, "safe")

    def _present(self) -> Float[np.ndarray, " N"]:
        weights = attribute_of(self.target, "weights")
        if weights is None:
            return self._held.copy()
        present = np.array(weights, float).reshape(-1)
        if present.size != self.parameters or not np.all((present == 0) | (present == 1)):
            raise RequestError(
                f"The device {self.name} has weights of size {present.size} for "
                f"{self.parameters} mirrors, or others than 0 and 1; give 0 or 1 for each mirror."
            )
        return present

    def write(self, theta: Float[np.ndarray, " N"]) -> None:
        """Flip every mirror that is not as it should be."""
        self.write_at(np.arange(theta.size), theta)

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Flip those of some mirrors that are not as they should be."""
        self._held = self._present()
        for place, value in zip(places, values):
            if self._held[place] != value:
                self.target.flip(int(place))
                self._held[place] = value

    def _measure(self, inputs: Float[np.ndarray, "1 L"]) -> Float[np.ndarray, "1 T"]:
        assert self._output is not None
        reading = self._output(inputs[0]) if self.fed else self._output()
        return real(done("output", reading)).reshape(1, -1)

    def _cost(self, inputs: np.ndarray, targets: np.ndarray) -> Any:
        del inputs, targets
        return self.target.error()
