"""ophyd signals and positioners, or anything that speaks bluesky's protocols, as a device."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither.instruments.extras import must_have
from dither.instruments.instrument import AbstractInstrument, AbstractInstrumentConnection
from dither.instruments.python import PythonDevice


class OphydDevice(AbstractInstrument):
    """Movables that are set together and awaited; readables that are triggered and read.

    A knob's own limits are its `limits`, if the lower is less than the upper. A readable with
    several fields contributes those named by its hints, or else all.

    Arguments: as for `dither.instruments.instrument.AbstractInstrument`; `timeout`, the time limit
    of a movement or a trigger, s, after which the measurement fails.
    """

    def __init__(self, *knobs: Sequence[Any], timeout: float = 10.0, **settings: Any) -> None:
        super().__init__(*knobs, **settings)
        self.timeout = timeout

    def name_of(self, knob: Any) -> str:
        return str(knob.name)

    def limits(self, knob: Any) -> tuple[float, float]:
        low, high = getattr(knob, "limits", None) or (0.0, 0.0)
        return (float(low), float(high)) if low < high else (-math.inf, math.inf)

    def turn(self, knobs: Sequence[Any], values: Float[np.ndarray, " K"]) -> None:
        self._wait([knob.set(float(value)) for knob, value in zip(knobs, values)])

    def read(self) -> Float[np.ndarray, " K"]:
        self._wait([r.trigger() for r in self.readouts if hasattr(r, "trigger")])
        fields = []
        for readout in self.readouts:
            reading = readout.read()
            hinted = getattr(readout, "hints", {}).get("fields", [])
            fields += [np.ravel(reading[name]["value"]) for name in hinted or reading]
        return np.concatenate(fields).astype(float)

    def _wait(self, moving: Sequence[Any]) -> None:
        for status in moving:
            status.wait(timeout=self.timeout)


class OphydConnection(AbstractInstrumentConnection):
    """ophyd devices, by their dotted names inside an object."""

    kind: Literal["ophyd"] = "ophyd"
    timeout: Annotated[float, Field(gt=0)] = 10.0

    def check_installed(self) -> None:
        must_have("ophyd", "ophyd")

    def connect(self) -> PythonDevice:
        self.check_installed()
        target = OphydDevice(*self.found(), timeout=self.timeout, **self.rest())
        return PythonDevice(target, guard=self.guard)
