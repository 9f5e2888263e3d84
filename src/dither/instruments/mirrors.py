"""A bench whose mirrors are flipped one at a time, as a device that is written."""

import inspect
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError


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

    def __init__(self, target: Any) -> None:
        self.target = target
        self.__name__ = getattr(target, "__name__", type(target).__name__)
        self.parameters = getattr(target, "parameters", None)
        if not isinstance(self.parameters, int | np.integer):
            raise RequestError(
                f"The device {self.__name__} has flip(i) but does not say how many mirrors; give "
                "it an attribute `parameters`, an integer."
            )
        self.initial = self._present()
        self.fed = True
        if hasattr(target, "output"):
            self.fed = len(inspect.signature(target.output).parameters) > 0
            self.measure = self._output
        elif hasattr(target, "error"):
            self.cost, self.task = self._error, "own-error"
        else:
            raise RequestError(
                f"The device {self.__name__} has flip(i) but neither error() nor output(); add "
                "one of them."
            )
        if hasattr(target, "safe"):
            self.safe = target.safe

    def _present(self) -> Float[np.ndarray, " N"]:
        weights = getattr(self.target, "weights", None)
        if weights is None:
            self._held = getattr(self, "_held", np.zeros(int(self.parameters or 0)))
            return self._held.copy()
        present = np.array(weights, float).reshape(-1)
        if present.size != self.parameters or not np.all((present == 0) | (present == 1)):
            raise RequestError(
                f"The device {self.__name__} has weights of size {present.size} for "
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

    def _output(self, inputs: Float[np.ndarray, "1 L"]) -> Float[np.ndarray, "1 T"]:
        reading = self.target.output(inputs[0]) if self.fed else self.target.output()
        return np.asarray(reading, float).reshape(1, -1)

    def _error(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        del inputs, targets
        return float(self.target.error())
