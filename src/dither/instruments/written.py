"""Objects without `write`: benches whose mirrors are flipped, and functions."""

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
    """An object with `write`: the object itself, or a wrapped bench of mirrors or function.

    Errors: `RequestError` for an object that answers to every name, so that its abilities are
    unknown.
    """
    if follows(target, Writable):
        return target
    if follows(target, Flippable):
        return Mirrors(target, name)
    if answers_to_all(target):
        raise RequestError(
            f"The device {name} answers to every name, as mocks and some proxies do, so its "
            "abilities are unknown; wrap it in a class with write and measure."
        )
    return _Function(target) if callable(target) else target


class _Function:
    """A function f(theta, inputs); it receives the parameters at each measurement."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        self._theta = theta

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Any:
        return self._function(self._theta.copy(), inputs)


class Mirrors:
    """Gives an object with `flip(i)` a method `write`, which flips the mirrors that differ.

    The object has `parameters`, N, the number of its mirrors; `flip(i)`, which flips mirror i; and
    either `error()`, one number, or `output()`, the T readings of the training series, or
    `output(inputs)`, the readings of a given series. Without inputs, the training part is used in
    place of the test part. It may have `weights`, its N states, each 0 or 1. Without it, the state
    at the start counts as 0 for all mirrors, and the bench must be brought back to it before a run
    is resumed.
    """

    bounds = (0.0, 1.0)
    bits = 1

    def __init__(self, target: Any, name: str) -> None:
        self.target, self.name = target, name
        self.parameters = attribute_of(target, "parameters")
        if not isinstance(self.parameters, int | np.integer):
            raise RequestError(
                f"The device {name} has flip(i) but not its number of mirrors; give "
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
                f"The device {name} has flip(i) but neither error() nor output(); add either "
                "of them."
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
                f"{self.parameters} mirrors, or values other than 0 and 1; give 0 or 1 for "
                "each mirror."
            )
        return present

    def write(self, theta: Float[np.ndarray, " N"]) -> None:
        """Flip every mirror whose state differs."""
        self.write_at(np.arange(theta.size), theta)

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Flip those of the given mirrors whose state differs."""
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
