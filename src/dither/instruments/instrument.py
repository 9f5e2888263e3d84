"""The common base of QCoDeS and ophyd devices: knobs to set and readouts to read."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from dither._errors import RequestError
from dither.instruments.connection import AbstractObjectConnection


class AbstractInstrument(ABC):
    """A device made of knobs and readouts: some knobs are trained, some present a sample.

    To write is to set the knobs of the parameters. To measure is, for each sample of the batch, to
    set the knobs of the inputs, wait, and read the readouts one after another.

    Arguments: `parameters`, the knobs to train; `outputs`, the readouts; `inputs`, the knobs that
    present a sample; `bounds` of all trained knobs, a pair (low, high), narrowed by a knob's own
    limits; `settle`, the wait after knobs were set, s; `initial`, the initial values; `safe`, the
    value of the trained knobs after a run, however it ends.
    Errors: `RequestError` for two knobs of the same name, and for a safe value outside the bounds.
    """

    def __init__(
        self,
        parameters: Sequence[Any],
        outputs: Sequence[Any],
        inputs: Sequence[Any] = (),
        *,
        bounds: tuple[float, float] | None = None,
        settle: float = 0.0,
        initial: Sequence[float] | Float[np.ndarray, " P"] | None = None,
        safe: float | None = None,
    ) -> None:
        self.knobs, self.readouts, self.present = list(parameters), list(outputs), list(inputs)
        self.settle, self.initial, self.rest = settle, initial, safe
        names = [self.name_of(knob) for knob in self.knobs]
        if len(set(names)) < len(names):
            raise RequestError(
                f"Two of the knobs {', '.join(names)} have the same name; give each knob once."
            )
        low, high = bounds or (-math.inf, math.inf)
        self.parameters: dict[str, tuple[int, ...]] = dict.fromkeys(names, ())
        self.bounds = {
            name: (max(low, own[0]), min(high, own[1]))
            for name, own in zip(names, map(self.limits, self.knobs))
        }
        for name, (least, most) in self.bounds.items():
            if safe is not None and not least <= safe <= most:
                raise RequestError(
                    f"The safe value {safe:g} is outside the bounds {least:g} to {most:g} of "
                    f"{name}; give a value inside."
                )

    @abstractmethod
    def name_of(self, knob: Any) -> str:
        """The knob's name."""

    @abstractmethod
    def limits(self, knob: Any) -> tuple[float, float]:
        """The knob's own limits."""

    @abstractmethod
    def turn(self, knobs: Sequence[Any], values: Float[np.ndarray, " K"]) -> None:
        """Set knobs and wait until they arrive."""

    @abstractmethod
    def read(self) -> Float[np.ndarray, " K"]:
        """Read all readouts, in order, as one row."""

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Set all trained knobs."""
        self.turn(self.knobs, theta)
        time.sleep(self.settle)

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Set some of the trained knobs."""
        self.turn([self.knobs[place] for place in places], values)
        time.sleep(self.settle)

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B K"]:
        """The outputs of a batch, one sample after another."""
        samples = inputs.reshape(len(inputs), -1)
        if samples.shape[1] != len(self.present):
            raise ValueError(
                f"a sample has {samples.shape[1]} inputs, but {len(self.present)} knobs were given "
                "to present it"
            )
        return np.stack([self._outputs(sample) for sample in samples])

    def _outputs(self, sample: Float[np.ndarray, " n"]) -> Float[np.ndarray, " K"]:
        self.turn(self.present, sample)
        time.sleep(self.settle)
        return self.read()

    def safe(self) -> None:
        """Set the trained knobs to their safe value, if there is one."""
        if self.rest is not None:
            self.turn(self.knobs, np.full(len(self.knobs), float(self.rest)))


class AbstractInstrumentConnection(AbstractObjectConnection):
    """Knobs and readouts, by their dotted names inside an object.

    Arguments: `object`, `path/to/file.py:name` or `package.module:name`, such as a station or an
    instrument; `parameters`, `outputs`, `inputs`, dotted names inside it, such as `dac.ch1`; other
    arguments as for `AbstractInstrument`.
    """

    parameters: Annotated[tuple[str, ...], Field(min_length=1)]
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    inputs: tuple[str, ...] = ()
    settle: Annotated[float, Field(ge=0)] = 0.0
    initial: tuple[float, ...] | None = None
    safe: float | None = None

    def found(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The trained knobs, the readouts and the input knobs."""
        home = self.found_object()
        names = (self.parameters, self.outputs, self.inputs)
        parameters, outputs, inputs = ([self._inside(home, n) for n in some] for some in names)
        return parameters, outputs, inputs

    def _inside(self, home: Any, name: str) -> Any:
        try:
            return attrgetter(name)(home)
        except AttributeError as error:
            raise RequestError(f"The object {self.object} has no '{name}': {error}.") from None

    def rest(self) -> dict[str, Any]:
        """The settings other than the names."""
        return {key: getattr(self, key) for key in ("bounds", "settle", "initial", "safe")}
