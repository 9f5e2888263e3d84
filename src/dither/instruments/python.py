"""A real device: any Python object or callable of NumPy arrays."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither.contract import AccessLevel, Layer, Parameter, Space
from dither.instruments.chip import BadReading, LabObject
from dither.instruments.find import find_object
from dither.instruments.guard import Guard, Guarded
from dither.networks.network import dense

__all__ = ["BadReading", "PythonDevice", "find_object"]


class PythonDevice:
    """Wraps a lab's object, so that training can write to it and measure it.

    The object has `parameters`, how many numbers can be programmed (an integer, or a table of
    names and shapes); `write(theta)`, which programs them; and either `measure(inputs)`, which
    returns the outputs of a batch, one row a sample, or `cost(inputs, targets)`, which returns the
    mean cost of a batch as one number. A callable `f(theta, inputs)` that returns the outputs, with
    an attribute `parameters`, is as good.

    An object with `flip(i)` instead of `write` is one of Boolean mirrors: see `Mirrors`.

    It may also have `bounds`, a pair (low, high) or a table of such by name; `bits`, of the DACs
    between the bounds, or `levels`, the number of settings from low to high, such as 3 for ternary;
    `write_at(places, values)`, which programs some parameters and leaves the others;
    `initial`, parameters to start from, or a function of a seed that returns them; `safe()`, which
    brings it into a safe state; `reconnect()`, which opens its connection anew after failures in a
    row. Its time is measured by the clock.

    Where one call can program and measure several settings, `measure_block(settings, inputs,
    targets)` takes K of them, each with its batch, and returns, or yields one after another, their
    K readings; the first that fails ends it, by an exception or as NaN.

    Where something can be added at its neurons, for node perturbation, it has `layers`, the names
    of dense layers whose parameters are `NAME/weight` (p, q) and `NAME/bias` (q); and
    `measure_sites(inputs, added)`, which returns the outputs with `added[NAME]` at the neurons of
    each layer, (q,) for the whole batch or (B, q), and a table of the inputs (B, p) of each layer.

    An exception raised by a call, NaN or a wrong shape is a failed measurement, and asked again.

    Arguments: the object; `parameters`, `bounds`, `bits`, to say or override what it has; `guard`,
    time-outs, waits and gentle writes.
    Errors: `RequestError` for what it lacks.
    """

    def __init__(
        self,
        target: Any,
        *,
        parameters: int | Mapping[str, tuple[int, ...]] | None = None,
        bounds: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
        bits: int | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.guard = guard or Guard()
        self._guarded = None
        if self.guard != Guard() or hasattr(target, "reconnect"):
            target = self._guarded = Guarded(target, self.guard)
        self.lab = LabObject(target, parameters=parameters, bounds=bounds, bits=bits)
        self.target, self.name, self.fed = self.lab.target, self.lab.name, self.lab.fed
        self.space = Space(
            tuple(
                Parameter(name, shape, *self.lab.limits[name], self.lab.levels)
                for name, shape in self.lab.shapes.items()
            )
        )
        self._by_cost = self.lab.by_cost
        if self._guarded is not None:
            self._guarded.slew = self.guard.largest_change(self.space)

    @property
    def access_level(self) -> AccessLevel:
        """Sites, outputs, or only a cost."""
        if self.lab.layers:
            return AccessLevel.SITES
        return AccessLevel.COST if self._by_cost else AccessLevel.OUTPUTS

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The dense layers whose neurons can be perturbed and whose inputs are read; () if none."""
        return tuple(Layer(name, (q,), dense) for name, q in self.lab.layers.items())

    def initial(self, seed: int) -> Float[np.ndarray, " P"]:
        """Parameters to start from: the object's own, else uniform.

        Uniform over the middle half of the bounds, or over (−1, 1) where there are none.
        """
        values = self.lab.initial(seed)
        if values is not None:
            return values
        low, high = np.asarray(self.space.low), np.asarray(self.space.high)
        bounded = np.isfinite(high - low)
        low, high = np.where(bounded, low, -2.0), np.where(bounded, high, 2.0)
        middle, half = 0.5 * (low + high), 0.25 * (high - low)
        rng = np.random.default_rng(seed)
        return np.asarray(middle + half * rng.uniform(-1, 1, self.space.size))

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Program the parameters, kept inside the bounds."""
        self.program(self.writable(theta))

    def writable(self, theta: Float[np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        """Settings as doubles inside the bounds, some of which single precision rounds outwards."""
        inside: Float[np.ndarray, "*K P"] = np.clip(
            np.asarray(theta, float), self.lab.low, self.lab.high
        )
        return inside

    def writable_at(
        self, values: Float[np.ndarray, "R K"], places: Int[np.ndarray, "R K"]
    ) -> Float[np.ndarray, "R K"]:
        """The same for settings of some parameters, P being the place of none."""
        low, high = (np.broadcast_to(b, self.space.size) for b in (self.lab.low, self.lab.high))
        known = np.minimum(places, self.space.size - 1)
        inside: Float[np.ndarray, "R K"] = np.clip(
            np.asarray(values, float), low[known], high[known]
        )
        return inside

    def program(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        """Program what `writable` has returned: all parameters, or those at some places."""
        self.lab.program(values, places)

    def measure(
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray
    ) -> Float[np.ndarray, "..."]:
        """The outputs of a batch, B rows, or its cost, one number.

        Errors: `BadReading` where what came back is not that.
        """
        return self.lab.measure(inputs, targets)

    def measure_sites(
        self, inputs: Float[np.ndarray, "B ..."], added: Mapping[str, Float[np.ndarray, "..."]]
    ) -> tuple[Float[np.ndarray, "B K"], dict[str, Float[np.ndarray, "B _"]]]:
        """The outputs of a batch with something added at the neurons, and the layers' inputs.

        Errors: `BadReading` where what came back is not that.
        """
        return self.lab.measure_sites(inputs, added)

    @property
    def in_blocks(self) -> bool:
        """Whether one call programs and measures several settings."""
        return self.lab.in_blocks

    def measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray,
    ) -> Iterator[Float[np.ndarray, "..."]]:
        """Program what `writable` has returned, K settings, and measure each on its own batch.

        Yields: their readings; an exception ends it at the first that fails.
        """
        return self.lab.measure_block(settings, inputs, targets)

    def recover(self, failures: int) -> None:
        """After so many failures in a row: wait and reconnect, as the guard says."""
        if self._guarded is not None:
            self._guarded.recover(failures)

    def extra_writes(self) -> int:
        """Writes since the last call of this, beyond those asked for: steps, and reconnecting."""
        if self._guarded is None:
            return 0
        extra, self._guarded.extra_writes = self._guarded.extra_writes, 0
        return extra

    def safe(self) -> None:
        """Bring the device into its safe state, if it has one."""
        self.lab.safe()

    def self_test(
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray, outputs: tuple[int, ...] = ()
    ) -> None:
        """One write and one measurement, checked: shape, finite values, outputs a sample.

        Arguments: a batch; how many outputs are right, any number if not given.
        Errors: `RequestError` that names what is wrong.
        """
        try:
            self.write(np.asarray(self.space.snap(self.initial(0))))
            reading = self.measure(inputs, targets)
        except BadReading as error:
            raise RequestError(f"The device {self.name} fails its self-test: it {error}.") from None
        except Exception as error:
            raise RequestError(
                f"The device {self.name} fails its self-test: {type(error).__name__}: {error}."
            ) from error
        if not self._by_cost and outputs and reading.shape[1] not in outputs:
            raise RequestError(
                f"The device {self.name} fails its self-test: it returned {reading.shape[1]} "
                f"outputs a sample where the task has {' or '.join(map(str, outputs))}."
            )
