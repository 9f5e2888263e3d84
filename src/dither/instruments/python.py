"""A real device: any Python object or callable of NumPy arrays; serving it needs no JAX."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither._numbers import finite, real
from dither._raised import told
from dither.instruments.calls import Calls
from dither.instruments.extent import extent_of, levels_of
from dither.instruments.neurons import Neurons, as_layers, neurons_of, output_of, positions_of
from dither.instruments.protocols import (
    MeasuresCost,
    MeasuresOutputs,
    MeasuresSites,
    Writable,
    abilities_of,
    attribute_of,
    check_plain,
    done,
    method_of,
)
from dither.instruments.readings import BadReading, as_cost, as_layer_inputs, as_outputs
from dither.instruments.written import as_written

if TYPE_CHECKING:
    from dither.contract import AccessLevel, Layer, Space
    from dither.instruments.guard import Guard


class PythonDevice:
    """Wraps a lab's object, so that training can write to it and measure it.

    Its abilities are determined once, by `dither.instruments.protocols`. It has `parameters`, the
    number of programmable values (an integer, or a table of names and shapes); `write(theta)`,
    which programs them; and either `measure(inputs)`, which returns the outputs of a batch, one row
    per sample, or `cost(inputs, targets)`, which returns the mean cost of a batch as one number. A
    callable `f(theta, inputs)` that returns the outputs and has an attribute `parameters` also
    works, and so does an object with `flip(i)` instead of `write`: see `Mirrors`.

    It may also have `bounds`, a pair (low, high) or a table of such by name; `bits`, of the DACs
    between the bounds, or `levels`, the number of settings from low to high, such as 3 for ternary,
    or a table of such by name; `write_at(places, values)`, which programs some parameters and
    leaves the others unchanged; `initial`, parameters to start from, or a function of a seed that
    returns them; `safe()`, which brings it into a safe state; `reconnect()`, which reopens its
    connection after failures in a row. Its time is measured.

    For calls that program and measure several settings, `measure_block(settings, inputs, targets)`
    takes K of them, each with its batch, and returns, or yields one after another, their K
    readings; the first failure ends it, by an exception or as NaN.

    If its neurons can be perturbed, for node perturbation, it has `layers`, the names of dense
    layers whose parameters are `NAME/weight` (p, q) and `NAME/bias` (q); and
    `measure_sites(inputs, added)`, which returns the outputs with `added[NAME]` added to the
    neurons' inputs of each layer, (q,) for the whole batch or (B, q), and a table of the inputs (B,
    p) of each layer. A convolution uses the same weights at several positions: `layers` is then a
    table of the positions of each layer, such as (26, 26), or () for a dense layer. They precede q
    and p in shapes. `output_activation`, identity, tanh or sigmoid, is that of the last layer.

    An exception, NaN or a wrong shape is a failed measurement, which is repeated.

    Arguments: the object; `parameters`, `bounds`, `bits`, which set or override its attributes;
    `guard`, time-outs, waits and slew limits.
    Errors: `RequestError` for a missing method or attribute.
    """

    def __init__(
        self,
        target: Any,
        *,
        parameters: int | Mapping[str, tuple[int, ...]] | None = None,
        bounds: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
        bits: int | None = None,
        guard: "Guard | None" = None,
    ) -> None:
        self.count, self.counts = 1, dict[str, np.ndarray]()
        self.name = str(attribute_of(target, "__name__", type(target).__name__))
        self.target = target = as_written(target, self.name)

        def said(attribute: str, default: Any = None) -> Any:
            return attribute_of(target, attribute, default)

        self.abilities, self.guard = abilities_of(target), guard
        self.by_cost = MeasuresOutputs not in self.abilities
        self.fed, self.task = bool(said("fed", True)), str(said("task", "nist7x7"))
        self.own_initial = said("initial")
        shapes = said("parameters") if parameters is None else parameters
        limits = said("bounds") if bounds is None else bounds
        levels = levels_of(self.name, said("bits") if bits is None else bits, said("levels"))
        self.extent = extent_of(self.name, shapes, limits, levels)
        self._check_abilities()
        self.neurons = self._neurons_of(said("layers", ()))
        self.output_activation = output_of(self.name, said("output_activation"))
        self._calls = Calls(target, self.abilities)
        if guard is not None:
            step = float(np.max(self.space.step))
            self._calls = guard.around(target, self.abilities, step)
        self.renew_lease = self._calls.renew_lease

    def _check_abilities(self) -> None:
        if Writable not in self.abilities:
            raise RequestError(
                f"The device {self.name} has no write(theta) and is not a function "
                "f(theta, inputs); give it either of them."
            )
        if self.by_cost and MeasuresCost not in self.abilities:
            raise RequestError(
                f"The device {self.name} has write but neither measure(inputs) nor "
                "cost(inputs, targets); add one of them."
            )
        check_plain(self.target, map(method_of, self.abilities), self.name)

    def _neurons_of(self, layers: Any) -> tuple[Neurons, ...]:
        positions = positions_of(self.name, layers)
        if positions and (self.by_cost or MeasuresSites not in self.abilities):
            raise RequestError(
                f"The device {self.name} has layers but not both measure(inputs) and "
                "measure_sites(inputs, added); add them."
            )
        return neurons_of(self.name, positions, self.extent.shapes)

    @cached_property
    def space(self) -> "Space":
        """Its parameters."""
        return self._space(dict.fromkeys(self.extent.shapes, 0.0))

    @cached_property
    def trained_space(self) -> "Space":
        """Its parameters as trained: in single precision, minus `extent.origin`."""
        return self._space({name: self.extent.origin_of(name) for name in self.extent.shapes})

    def _space(self, origins: Mapping[str, float]) -> "Space":
        from dither.contract import Parameter, Space

        parameters = []
        for name, origin in origins.items():
            low, high = self.extent.limits[name]
            shape, levels = self.extent.shapes[name], self.extent.levels[name]
            parameters.append(Parameter(name, shape, low - origin, high - origin, levels))
        return Space(tuple(parameters))

    @cached_property
    def access_level(self) -> "AccessLevel":
        """Sites, outputs, or only a cost."""
        from dither.contract import AccessLevel

        if self.neurons:
            return AccessLevel.SITES
        return AccessLevel.COST if self.by_cost else AccessLevel.OUTPUTS

    @cached_property
    def layers(self) -> "tuple[Layer, ...]":
        """The layers whose neurons can be perturbed and whose inputs are read; () if none."""
        return as_layers(self.neurons, self.output_activation)

    def initial(self, seed: int) -> Float[np.ndarray, " P"]:
        """The initial parameters: the object's own, else uniform random values.

        Uniform over the middle half of the bounds, or over (−1, 1) without bounds.
        Errors: `RequestError` if its own are not P finite numbers.
        """
        start = self._own_initial(seed)
        if start is None:
            low, high = np.asarray(self.extent.low), np.asarray(self.extent.high)
            bounded = np.isfinite(high - low)
            low, high = np.where(bounded, low, -2.0), np.where(bounded, high, 2.0)
            middle, half = 0.5 * (low + high), 0.25 * (high - low)
            uniform = np.random.default_rng(seed).uniform(-1, 1, self.extent.size)
            return np.asarray(middle + half * uniform)
        try:
            values = real(start).reshape(-1)
        except ValueError as error:
            raise RequestError(
                f"The device {self.name} gives invalid initial parameters: {error}."
            ) from None
        if values.size != self.extent.size or not finite(values):
            raise RequestError(
                f"The device {self.name} gives {values.size} initial parameters and has "
                f"{self.extent.size}; give that many finite numbers."
            )
        self.extent.check_start(self.name, values)
        return values

    def origin(self, seed: int) -> float | Float[np.ndarray, " P"]:
        """The offset subtracted from a run's parameters before single precision."""
        return self.extent.origin_from(None if self.own_initial is None else self.initial(seed))

    def _own_initial(self, seed: int) -> Any:
        if not callable(self.own_initial):
            return self.own_initial
        try:
            return done("initial", self.own_initial(seed))
        except Exception as error:
            raise RequestError(
                f"The device {self.name} gives no initial parameters: {told(error)}."
            ) from error

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Program the parameters, kept inside the bounds."""
        self.program(self.writable(theta))

    def writable(self, theta: Float[np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        """Settings as doubles inside the bounds, which single precision may round outwards."""
        return self._inside(np.array(theta, float))

    def next_settings(self, theta: Float[np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        """The same in reused memory: program the settings before the next ones are made."""
        settings = self._calls.room(theta.shape)
        settings[...] = theta
        return self._inside(settings)

    def _inside(self, doubles: Float[np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        if self.extent.bounded:
            np.clip(doubles, self.extent.low, self.extent.high, out=doubles)
        return doubles

    def writable_at(
        self, values: Float[np.ndarray, "R K"], places: Int[np.ndarray, "R K"]
    ) -> Float[np.ndarray, "R K"]:
        """The same for settings of some parameters; place P means no parameter."""
        low, high = self.extent.bounds_at(np.minimum(places, self.extent.size - 1))
        inside: Float[np.ndarray, "R K"] = np.clip(np.asarray(values, float), low, high)
        return inside

    def program(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        """Program the result of `writable`: all parameters, or those at some places."""
        self._calls.program(values, places)

    def measure(
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray | None
    ) -> Float[np.ndarray, "..."]:
        """The outputs of a batch, B rows, or its cost, one number.

        Errors: `BadReading` for any other result.
        """
        if self.by_cost:
            return self._calls.read(as_cost, "cost", inputs, targets)
        return self._calls.read(lambda y: as_outputs(y, len(inputs)), "measure", inputs)

    def measure_sites(
        self, inputs: Float[np.ndarray, "B ..."], added: Mapping[str, Float[np.ndarray, "..."]]
    ) -> tuple[Float[np.ndarray, "B K"], dict[str, Float[np.ndarray, "B ..."]]]:
        """The outputs of a batch with perturbed neurons, and the layers' inputs.

        Layers that are not named in `added` are given zeros. Errors: `BadReading` for any other
        result.
        """
        every = {one.name: added.get(one.name, np.zeros(one.nodes)) for one in self.neurons}
        outputs, seen = self._calls.make("measure_sites", inputs, every)
        read = as_layer_inputs(seen, len(inputs), {one.name: one.inputs for one in self.neurons})
        return as_outputs(outputs, len(inputs)), read

    def deal(self, task: Any) -> Any:
        """The task as it is measured: a fleet's batch holds one batch per device."""
        return task

    @property
    def in_blocks(self) -> bool:
        """Whether one call programs and measures several settings."""
        return self._calls.in_blocks

    def measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray | None,
    ) -> Iterator[Float[np.ndarray, "..."]]:
        """Program K settings, made by `writable`, and measure each on its own batch.

        Yields: their readings; an exception ends it at the first failure.
        """
        if not self.in_blocks:
            for k, theta in enumerate(settings):
                self.program(theta)
                yield self.measure(inputs[k], None if targets is None else targets[k])
            return
        done, batch = 0, inputs.shape[1]
        due = (len(settings),) if self.by_cost else (len(settings), batch, None)
        one = as_cost if self.by_cost else lambda given: as_outputs(given, batch)
        for reading in self._calls.measure_block(settings, inputs, targets, due, one):
            yield reading
            done += 1
        if done != len(settings):
            raise BadReading(f"returned {done} readings for {len(settings)} settings")

    def recover(self, failures: int) -> None:
        """After a number of failures in a row: wait and reconnect, as the guard specifies."""
        self._calls.recover(failures)

    def rewrite(self) -> None:
        """From now on, write unchanged settings again."""
        self._calls.rewrite = True

    def writes(self) -> int:
        """Writes made since the last call of this function."""
        made, self._calls.writes = self._calls.writes, 0
        return made

    def safe(self) -> None:
        """Bring the device into its safe state, if it has one."""
        self._calls.safe()

    def self_test(
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray, outputs: tuple[int, ...] = ()
    ) -> None:
        """Check one write and one measurement: shape, finite values, outputs per sample.

        Arguments: a batch; the accepted numbers of outputs, any number if not given.
        Errors: `RequestError` that names what is wrong.
        """
        origin = self.origin(0)
        start = self.trained_space.snap(self.initial(0) - origin)
        try:
            self.write(np.asarray(start, float) + origin)
            reading = self.measure(inputs, targets)
        except BadReading as error:
            raise self._fails(f"it {error}") from None
        except Exception as error:
            raise self._fails(f"{told(error)}, given inputs of shape {inputs.shape}") from error
        if not self.by_cost and outputs and reading.shape[1] not in outputs:
            raise self._fails(
                f"it returned {reading.shape[1]} outputs per sample, but the task has "
                f"{' or '.join(map(str, outputs))}"
            )

    def _fails(self, why: str) -> RequestError:
        return RequestError(f"The device {self.name} fails its self-test: {why}.")
