"""What a lab's object can do: it is written, it is measured, its readings are checked."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError, RunError
from dither.instruments.mirrors import Mirrors


class LabObject:
    """A lab's object or callable, its calls and readings checked.

    Arguments: the object, as `PythonDevice` describes it; `parameters`, `bounds`, `bits`, to say or
    override what it has.
    Attributes: `name`; `shapes`, of the named arrays of parameters; `size`, P; `limits`, the bounds
    of each array; `low`, `high`, one number for all parameters or one for each; `levels`, 0 for
    continuous; `by_cost`, whether it shows only a cost; `fed`, whether it is handed inputs;
    `task`, the kind of task to check it with; `in_blocks`, whether it measures several settings in
    one call; `layers`, by name the number of neurons that can be perturbed.
    Errors: `RequestError` for what it lacks.
    """

    def __init__(
        self,
        target: Any,
        *,
        parameters: int | Mapping[str, tuple[int, ...]] | None = None,
        bounds: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
        bits: int | None = None,
    ) -> None:
        if hasattr(target, "flip"):
            target = Mirrors(target)
        self.target = target
        self.name = getattr(target, "__name__", type(target).__name__)
        shapes = parameters if parameters is not None else getattr(target, "parameters", None)
        bounds = bounds or getattr(target, "bounds", None)
        bits = bits or getattr(target, "bits", None)
        self.shapes, self.limits = _extent(self.name, shapes, bounds)
        self.low, self.high = _of_each(self.shapes, self.limits)
        self.size = sum(math.prod(shape) for shape in self.shapes.values())
        self.levels = int(2**bits if bits else getattr(target, "levels", 0))
        self._held = np.zeros(self.size)
        self._write_at = getattr(target, "write_at", None)
        # what is not fed plays the training series only
        self.fed = bool(getattr(target, "fed", True))
        self.task = str(getattr(target, "task", "nist7x7"))
        self.in_blocks = hasattr(target, "measure_block")
        self.by_cost = False
        if hasattr(target, "write"):
            self._write = target.write
            self.by_cost = not hasattr(target, "measure")
            if self.by_cost and not hasattr(target, "cost"):
                raise RequestError(
                    f"The device {self.name} has write but neither measure(inputs) nor "
                    "cost(inputs, targets); add one of them."
                )
            self._measure = target.cost if self.by_cost else target.measure
        elif callable(target):
            self._write = self._keep
            self._measure = self._call
        else:
            raise RequestError(
                f"The device {self.name} has no write(theta) and is not a function "
                "f(theta, inputs); give it one of the two."
            )
        self.layers = self._layers_of(target)

    def _layers_of(self, target: Any) -> dict[str, int]:
        """How many neurons each layer has that the object can perturb and read the inputs of."""
        names = tuple(getattr(target, "layers", ()))
        if names and (self.by_cost or not hasattr(target, "measure_sites")):
            raise RequestError(
                f"The device {self.name} has layers but not both measure(inputs) and "
                "measure_sites(inputs, added); add them."
            )
        for name in names:
            weight = self.shapes.get(f"{name}/weight", ())
            if len(weight) != 2 or self.shapes.get(f"{name}/bias") != weight[1:]:
                raise RequestError(
                    f"The device {self.name} has a layer {name} but not its parameters "
                    f"'{name}/weight' of shape (p, q) and '{name}/bias' of shape (q,); name them "
                    "in `parameters`."
                )
        return {name: self.shapes[f"{name}/bias"][0] for name in names}

    def _keep(self, theta: Float[np.ndarray, " P"]) -> None:
        self._held = theta

    def _call(self, inputs: Float[np.ndarray, "B ..."]) -> Any:
        return self.target(self._held, inputs)

    def initial(self, seed: int) -> Float[np.ndarray, " P"] | None:
        """The object's own parameters to start from, if it has any."""
        start = getattr(self.target, "initial", None)
        if start is None:
            return None
        values = np.asarray(start(seed) if callable(start) else start, float).reshape(-1)
        if values.size != self.size or not np.all(np.isfinite(values)):
            raise RequestError(
                f"The device {self.name} gives {values.size} initial parameters and has "
                f"{self.size}; give as many, all finite."
            )
        return values

    def program(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        """Program all parameters, or those at some places."""
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
        self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray | None
    ) -> Float[np.ndarray, "..."]:
        """The outputs of a batch, B rows, or its cost, one number.

        Errors: `BadReading` where what came back is not that.
        """
        if self.by_cost:
            return self._checked(self._measure(inputs, targets), len(inputs))
        return self._checked(self._measure(inputs), len(inputs))

    def measure_sites(
        self, inputs: Float[np.ndarray, "B ..."], added: Mapping[str, Float[np.ndarray, "..."]]
    ) -> tuple[Float[np.ndarray, "B K"], dict[str, Float[np.ndarray, "B _"]]]:
        """The outputs of a batch with something added at the neurons, and the layers' inputs.

        Errors: `BadReading` where what came back is not that.
        """
        outputs, seen = self.target.measure_sites(inputs, dict(added))
        read = {}
        for name in self.layers:
            x: Float[np.ndarray, ...] = np.asarray(seen[name], float)
            shape = (len(inputs), self.shapes[f"{name}/weight"][0])
            if x.shape != shape or not math.isfinite(x.sum()):
                raise BadReading(
                    f"returned inputs of layer {name} of shape {x.shape}, or not finite, where "
                    f"{shape} is due"
                )
            read[name] = x
        return self._checked(outputs, len(inputs)), read

    def measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray | None,
    ) -> Iterator[Float[np.ndarray, "..."]]:
        """Program and measure K settings, each on its own batch; a failure ends it."""
        if not self.in_blocks:
            for k, theta in enumerate(settings):
                self.program(theta)
                yield self.measure(inputs[k], None if targets is None else targets[k])
            return
        done = 0
        for reading in self.target.measure_block(settings, inputs, targets):
            yield self._checked(reading, inputs.shape[1])
            done += 1
        if done != len(settings):
            raise BadReading(f"returned {done} readings for {len(settings)} settings")
        self._held = settings[-1]

    def _checked(self, given: Any, rows: int) -> Float[np.ndarray, "..."]:
        reading: Float[np.ndarray, ...] = np.asarray(given, float)
        if self.by_cost:
            if reading.size != 1:
                raise BadReading(
                    f"returned a cost of shape {reading.shape} where one number is due"
                )
            reading = reading.reshape(())
        else:
            if reading.ndim == 1:
                reading = reading[:, None]
            if reading.ndim != 2 or len(reading) != rows:
                raise BadReading(
                    f"returned outputs of shape {reading.shape} for {rows} inputs; one row "
                    "for each input is due"
                )
        if not math.isfinite(reading.sum()):
            raise BadReading("returned NaN or infinity")
        return reading

    def safe(self) -> None:
        """Bring the device into its safe state, if it has one."""
        if hasattr(self.target, "safe"):
            self.target.safe()


class BadReading(RunError):
    """A reading that cannot be one: a wrong shape, NaN or infinity."""


def _of_each(
    shapes: Mapping[str, tuple[int, ...]], limits: Mapping[str, tuple[float, float]]
) -> tuple[float | Float[np.ndarray, " P"], float | Float[np.ndarray, " P"]]:
    """The lower and the upper bound, of all parameters or of each."""
    pairs = list(limits.values())
    if len(set(pairs)) == 1:
        return pairs[0]
    sizes = [math.prod(shape) for shape in shapes.values()]
    low, high = np.repeat(np.asarray(pairs, float), sizes, axis=0).T
    return low, high


def _extent(
    name: str, shapes: Any, bounds: Any
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[float, float]]]:
    """The shapes of the named arrays, and the bounds of each."""
    if shapes is None:
        raise RequestError(
            f"The device {name} does not say how many parameters it has; give it an attribute "
            "`parameters`."
        )
    if isinstance(shapes, int | np.integer):
        shapes = {"theta": (int(shapes),)}
    try:
        table = {str(key): tuple(int(n) for n in shape) for key, shape in shapes.items()}
        pairs = bounds if isinstance(bounds, Mapping) else dict.fromkeys(table, bounds)
        limits = {key: _pair(pairs[key]) for key in table}
    except (TypeError, ValueError, AttributeError, KeyError):
        raise RequestError(
            f"The device {name} has parameters {shapes!r} and bounds {bounds!r}; give an integer "
            "or a table of names and shapes, and a pair (low, high) or one for each name."
        ) from None
    if not table or any(min(shape, default=1) < 1 for shape in table.values()):
        raise RequestError(f"The device {name} has no parameters; give at least one.")
    for low, high in limits.values():
        if not low < high:
            raise RequestError(f"The device {name} must have low < high, not {low} and {high}.")
    return table, limits


def _pair(bounds: Any) -> tuple[float, float]:
    low, high = (-math.inf, math.inf) if bounds is None else map(float, bounds)
    return low, high
