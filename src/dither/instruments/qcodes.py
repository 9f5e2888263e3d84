"""QCoDeS parameters as a device."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from dither.instruments.extras import must_have, needs
from dither.instruments.instrument import AbstractInstrument, AbstractInstrumentConnection
from dither.instruments.python import PythonDevice


class QcodesDevice(AbstractInstrument):
    """QCoDeS parameters, written by `set` and read by `get`; an array counts as several outputs.

    A parameter's own limits are those of its `Numbers` validator. Arguments and errors as for
    `dither.instruments.instrument.AbstractInstrument`.
    """

    def name_of(self, knob: Any) -> str:
        return str(knob.full_name)

    def limits(self, knob: Any) -> tuple[float, float]:
        numbers = needs("qcodes.validators", "qcodes").Numbers
        if not isinstance(knob.vals, numbers):
            return -math.inf, math.inf
        return float(knob.vals.min_value), float(knob.vals.max_value)

    def turn(self, knobs: Sequence[Any], values: Float[np.ndarray, " K"]) -> None:
        for knob, value in zip(knobs, values):
            knob.set(float(value))

    def read(self) -> Float[np.ndarray, " K"]:
        return np.concatenate([np.ravel(readout.get()) for readout in self.readouts]).astype(float)


class QcodesConnection(AbstractInstrumentConnection):
    """QCoDeS parameters, by their dotted names inside a station or an instrument."""

    kind: Literal["qcodes"] = "qcodes"

    def check_installed(self) -> None:
        must_have("qcodes", "qcodes")

    def connect(self) -> PythonDevice:
        self.check_installed()
        return PythonDevice(QcodesDevice(*self.found(), **self.rest()), guard=self.guard)
