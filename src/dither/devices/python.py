"""A real device: any Python object or callable of NumPy arrays."""

import importlib.util
import inspect
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError, RunError
from dither.devices.device import Sees
from dither.devices.guard import Guard, Guarded
from dither.devices.mirrors import Mirrors
from dither.devices.space import Parameter, Space


class PythonDevice:
    """Wraps a lab's object, so that training can write to it and measure it.

    The object has `parameters`, how many numbers can be programmed (an integer, or a table of
    names and shapes); `write(theta)`, which programs them; and either `measure(inputs)`, which
    returns the outputs of a batch, one row a sample, or `cost(inputs, targets)`, which returns the
    mean cost of a batch as one number. A callable `f(theta, inputs)` that returns the outputs, with
    an attribute `parameters`, is as good.

    An object with `flip(i)` instead of `write` is one of Boolean mirrors: see `Mirrors`.

    It may also have `bounds`, a pair (low, high); `bits`, of the DACs between the bounds, or
    `levels`, the number of settings from low to high, such as 3 for ternary;
    `write_at(places, values)`, which programs some parameters and leaves the others;
    `initial`, parameters to start from, or a function of a seed that returns them; `safe()`, which
    brings it into a safe state; `reconnect()`, which opens its connection anew after failures in a
    row. Its time is measured by the clock.

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
        bounds: tuple[float, float] | None = None,
        bits: int | None = None,
        guard: Guard | None = None,
    ) -> None:
        guard = guard or Guard()
        self.guard = guard
        self._guarded = None
        if guard != Guard() or hasattr(target, "reconnect"):
            target = self._guarded = Guarded(target, guard)
        if hasattr(target, "flip"):
            target = Mirrors(target)
        self.target = target
        self.name = getattr(target, "__name__", type(target).__name__)
        shapes = parameters if parameters is not None else getattr(target, "parameters", None)
        bounds = bounds or getattr(target, "bounds", None)
        bits = bits or getattr(target, "bits", None)
        levels = 2**bits if bits else getattr(target, "levels", 0)
        self.space = _space(self.name, shapes, bounds, levels)
        if self._guarded is not None:
            self._guarded.slew = guard.largest_change(self.space)
        self._held = np.zeros(self.space.size)
        self._write_at = getattr(target, "write_at", None)
        # what is not fed plays the training series only
        self.fed = bool(getattr(target, "fed", True))
        self._by_cost = False
        if hasattr(target, "write"):
            self._write = target.write
            self._by_cost = not hasattr(target, "measure")
            if self._by_cost and not hasattr(target, "cost"):
                raise RequestError(
                    f"The device {self.name} has write but neither measure(inputs) nor "
                    "cost(inputs, targets); add one of them."
                )
            self._measure = target.cost if self._by_cost else target.measure
        elif callable(target):
            self._write = self._keep
            self._measure = self._call
        else:
            raise RequestError(
                f"The device {self.name} has no write(theta) and is not a function "
                "f(theta, inputs); give it one of the two."
            )

    def _keep(self, theta: Float[np.ndarray, " P"]) -> None:
        self._held = theta

    def _call(self, inputs: Float[np.ndarray, "B ..."]) -> Any:
        return self.target(self._held, inputs)

    @property
    def sees(self) -> Sees:
        """Outputs, or only a cost."""
        return Sees.COST if self._by_cost else Sees.OUTPUTS

    def initial(self, seed: int) -> Float[np.ndarray, " P"]:
        """Parameters to start from: the object's own, else uniform.

        Uniform over the middle half of the bounds, or over (−1, 1) where there are none.
        """
        start = getattr(self.target, "initial", None)
        if start is None:
            low, high = np.asarray(self.space.low), np.asarray(self.space.high)
            bounded = np.isfinite(high - low)
            low, high = np.where(bounded, low, -2.0), np.where(bounded, high, 2.0)
            middle, half = 0.5 * (low + high), 0.25 * (high - low)
            rng = np.random.default_rng(seed)
            return np.asarray(middle + half * rng.uniform(-1, 1, self.space.size))
        values = np.asarray(start(seed) if callable(start) else start, float).reshape(-1)
        if values.size != self.space.size or not np.all(np.isfinite(values)):
            raise RequestError(
                f"The device {self.name} gives {values.size} initial parameters and has "
                f"{self.space.size}; give as many, all finite."
            )
        return values

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Program the parameters, kept inside the bounds."""
        self.program(self.writable(theta))

    def writable(self, theta: Float[np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        """Settings as doubles inside the bounds, some of which single precision rounds outwards."""
        inside: Float[np.ndarray, "*K P"] = np.clip(
            np.asarray(theta, float), self.space.low, self.space.high
        )
        return inside

    def writable_at(
        self, values: Float[np.ndarray, "R K"], places: Int[np.ndarray, "R K"]
    ) -> Float[np.ndarray, "R K"]:
        """The same for settings of some parameters, P being the place of none."""
        low, high = (np.broadcast_to(b, self.space.size) for b in (self.space.low, self.space.high))
        known = np.minimum(places, self.space.size - 1)
        inside: Float[np.ndarray, "R K"] = np.clip(
            np.asarray(values, float), low[known], high[known]
        )
        return inside

    def program(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        """Program what `writable` has returned: all parameters, or those at some places."""
        if places is None:
            self._write(values)
            self._held = values
        elif self._write_at is not None:
            self._write_at(places, values)
        else:
            theta = self._held.copy()
            theta[places] = values
            self._write(theta)
            self._held = theta

    def measure(
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray
    ) -> Float[np.ndarray, "..."]:
        """The outputs of a batch, B rows, or its cost, one number.

        Errors: `BadReading` where what came back is not that.
        """
        if self._by_cost:
            cost = np.asarray(self._measure(inputs, targets), float)
            if cost.size != 1:
                raise BadReading(f"returned a cost of shape {cost.shape} where one number is due")
            reading = cost.reshape(())
        else:
            reading = np.asarray(self._measure(inputs), float)
            if reading.ndim == 1:
                reading = reading[:, None]
            if reading.ndim != 2 or len(reading) != len(inputs):
                raise BadReading(
                    f"returned outputs of shape {reading.shape} for {len(inputs)} inputs; one row "
                    "for each input is due"
                )
        if not math.isfinite(reading.sum()):
            raise BadReading("returned NaN or infinity")
        return reading

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
        if hasattr(self.target, "safe"):
            self.target.safe()

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


class BadReading(RunError):
    """A reading that cannot be one: a wrong shape, NaN or infinity."""


def _space(
    name: str,
    shapes: Any,
    bounds: Any,
    levels: int,
) -> Space:
    if shapes is None:
        raise RequestError(
            f"The device {name} does not say how many parameters it has; give it an attribute "
            "`parameters`."
        )
    if isinstance(shapes, int | np.integer):
        shapes = {"theta": (int(shapes),)}
    try:
        table = {str(key): tuple(int(n) for n in shape) for key, shape in shapes.items()}
        low, high = (-math.inf, math.inf) if bounds is None else map(float, bounds)
    except (TypeError, ValueError, AttributeError):
        raise RequestError(
            f"The device {name} has parameters {shapes!r} and bounds {bounds!r}; give an integer "
            "or a table of names and shapes, and a pair (low, high)."
        ) from None
    if not table or any(min(shape, default=1) < 1 for shape in table.values()):
        raise RequestError(f"The device {name} has no parameters; give at least one.")
    return Space(tuple(Parameter(key, shape, low, high, levels) for key, shape in table.items()))


def find_object(place: str) -> Any:
    """The object named by `path/to/file.py:name` or `package.module:name`.

    Errors: `RequestError` for a missing file, a module that fails to import, an unknown name.
    """
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name:
        raise RequestError(f"The device '{place}' is not of the form FILE.py:NAME or MODULE:NAME.")
    try:
        if where.endswith(".py"):
            module = _import_file(Path(where))
        else:
            module = importlib.import_module(where)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(
            f"The device's module {where} fails to import: {type(error).__name__}: {error}."
        ) from error
    if not hasattr(module, name):
        from dither._errors import nearest

        names = [n for n in vars(module) if not n.startswith("_")]
        raise RequestError(f"The module {where} has no '{name}'; {nearest(name, names)}")
    found = getattr(module, name)
    return found() if inspect.isclass(found) else found


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise RequestError(f"The device's file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"The device's file {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
