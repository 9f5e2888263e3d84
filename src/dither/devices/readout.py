"""A simulated reservoir with a readout of mirrors."""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field, field_validator, model_validator

from dither._errors import RequestError
from dither.contract import (
    AccessLevel,
    Batch,
    Cost,
    Known,
    Measurement,
    Outputs,
    Parameter,
    Space,
    SparseWrite,
)
from dither.devices.imperfections import AbstractImperfection, Blueprint
from dither.devices.simulation import AbstractSimulation
from dither.networks import AnyReservoir, StateNoise
from dither.tasks.task import Task

LEVELS = {"boolean": (0.0, 1.0, 2), "ternary": (-1.0, 1.0, 3)}
"""The lowest weight, the highest weight and the number of levels of each kind of readout."""

MANTISSA = 24
"""The mantissa bits of single precision."""

COARSEST = 12
"""The fractional bits that a column keeps even if sums are then rounded."""


class Columns(eqx.Module):
    """The contribution of every neuron to the summed light, over the training and the test part."""

    train: Float[Array, "N T"]
    test: Float[Array, "N M"]


class ReadoutState(eqx.Module):
    """The state of a bench: its weights and the summed light, updated with each flip.

    Attributes: `key`, of its noise; `fabrication`, of its reservoir; `written`, `measured`, counts;
    `weights`, w; `light`, `Σ_i w_i c_i(n)` over the training part; `squares`, `Σ_i (w_i c_i(n))²`,
    if its noise needs it, else (); `columns`, c, None in a checkpoint; `imperfections`.
    """

    key: Key[Array, ""]
    fabrication: Key[Array, ""]
    written: Int[Array, ""]
    measured: Int[Array, ""]
    weights: Float[Array, " N"]
    light: Float[Array, " T"] | None
    squares: Float[Array, " T"] | tuple[()]
    columns: Columns | None
    imperfections: tuple[Any, ...]


class ReadoutDevice(AbstractSimulation):
    """A reservoir with one mirror per neuron, which switches its light to the detector on or off.

    incoherent `y(n) = Σ_i w_i x_i(n)`, coherent `y(n) = |Σ_i w_i (1 − E_i(n))|²`

    A flip costs O(T), since the summed light is stored. To keep the sum exact after any number of
    flips, columns are rounded to a grid on which single-precision sums are exact for up to about
    10⁴ neurons. All steps before the first target are wash-out.

    Arguments: `reservoir`; `weights`, `boolean` {0, 1} or `ternary` {−1, 0, 1}; `readout`; `noise`
    on the neurons' states at every measurement, summed exactly (incoherent only); `imperfections`
    of outputs, costs and reads, applied in order; `access`, the access level; `seconds_per_write`
    and so on as for `SimulatedDevice`.
    Source: Bueno2018, Andreoli2020; equations recalled.
    """

    renamed: ClassVar = {"shows": "access"}
    kind: Literal["readout"] = "readout"
    reservoir: Annotated[AnyReservoir, Field(examples=[{"kind": "echo-state", "neurons": 30}])]
    weights: Literal["boolean", "ternary"] = "boolean"
    readout: Literal["incoherent", "coherent"] = "incoherent"
    noise: StateNoise = StateNoise()
    access: Literal["cost", "outputs"] = "outputs"

    @field_validator("imperfections")
    @classmethod
    def _spare_the_mirrors(
        cls, imperfections: tuple[AbstractImperfection, ...]
    ) -> tuple[AbstractImperfection, ...]:
        for imperfection in imperfections:
            for hook in ("limit", "parameters", "site"):
                if getattr(type(imperfection), hook) is not getattr(AbstractImperfection, hook):
                    raise ValueError(
                        f"{imperfection.kind} does not apply to a readout; use imperfections "
                        "of outputs, cost or reads"
                    )
        return imperfections

    @model_validator(mode="after")
    def _noise_is_summed_incoherently(self) -> "ReadoutDevice":
        if self.readout == "coherent" and self.noise != StateNoise():
            raise ValueError("noise of the neurons' states needs the incoherent readout")
        return self

    @cached_property
    def space(self) -> Space:
        low, high, levels = LEVELS[self.weights]
        return Space((Parameter("readout", (self.reservoir.neurons,), low, high, levels),))

    @property
    def access_level(self) -> AccessLevel:
        return AccessLevel[self.access.upper()]

    def check_task(self, task: Task) -> None:
        one = task.inputs.ndim == task.targets.ndim == 2 and task.inputs.shape[0] == 1
        if not one or not 2 <= task.targets.shape[1] <= task.inputs.shape[1]:
            raise RequestError(
                "A readout needs a series, but the task is not one; use a task of kind series."
            )

    def fabricate(self, key: Key[Array, ""]) -> ReadoutState:
        noise, fabrication, *keys = jax.random.split(key, 2 + len(self.imperfections))
        return ReadoutState(
            key=noise,
            fabrication=fabrication,
            written=jnp.int32(0),
            measured=jnp.int32(0),
            weights=jnp.zeros(self.space.size),
            light=None,
            squares=(),
            columns=None,
            imperfections=tuple(
                imperfection.fabricate(k, Blueprint(self.space.size, 1, {}))
                for imperfection, k in zip(self.imperfections, keys)
            ),
        )

    def prepare(self, states: ReadoutState, task: Task) -> ReadoutState:
        every = [self._columns(key, task) for key in states.fabrication]
        columns: Columns = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
        steps = task.targets.shape[1]

        def fit(state: ReadoutState, columns: Columns) -> ReadoutState:
            if state.light is not None:
                return replace(state, columns=columns)
            dark = jnp.zeros(steps)
            squares = dark if self.noise.multiplicative else ()
            return replace(state, columns=columns, light=dark, squares=squares)

        prepared: ReadoutState = jax.vmap(fit)(states, columns)
        return prepared

    def bare(self, states: ReadoutState) -> ReadoutState:
        stripped: ReadoutState = jax.vmap(lambda state: replace(state, columns=None))(states)
        return stripped

    def _columns(self, fabrication: Key[Array, ""], task: Task) -> Columns:
        instance = self.reservoir.fabricate(fabrication)

        def over(inputs: Float[Array, "1 L"], targets: Float[Array, "1 T"]) -> Float[Array, "N T"]:
            fields = self.reservoir.internal_states(instance, inputs[0])[-targets.shape[1] :]
            if self.readout == "coherent":
                return on_grid((1 - fields).T)
            return on_grid(self.reservoir.measured(fields).T)

        return Columns(over(task.inputs, task.targets), over(task.test_inputs, task.test_targets))

    def initial(self, key: Key[Array, ""]) -> Float[Array, " P"]:
        low, _, levels = LEVELS[self.weights]
        return low + jax.random.randint(key, (self.space.size,), 0, levels).astype(float)

    def write(
        self,
        state: ReadoutState,
        parameters: Float[Array, " P"] | SparseWrite,
        updated: Bool[Array, ""],
    ) -> ReadoutState:
        del updated
        assert state.columns is not None
        assert state.light is not None
        c, light, squares = state.columns.train, state.light, state.squares
        if isinstance(parameters, SparseWrite):
            weights = parameters.into(state.weights)
            # place N writes nothing: its weight is 0 before and after
            places = parameters.places
            before = state.weights.at[places].get(mode="fill", fill_value=0)
            after = jnp.where(places < self.space.size, parameters.values, 0)
            rows = c.at[places].get(mode="clip")
            light = light + _sum(after - before, rows)
            if not isinstance(squares, tuple):
                squares = squares + _sum(after**2 - before**2, rows**2)
        else:
            weights = self.space.snap(parameters)
            light = weights @ c
            squares = () if isinstance(squares, tuple) else weights**2 @ c**2
        written = state.written + 1
        return replace(state, written=written, weights=weights, light=light, squares=squares)

    def measure(
        self,
        state: ReadoutState,
        batch: Batch,
        cost: Cost,
        sites: dict[str, Array] | None,
        see: AccessLevel,
        known: Known | None = None,
    ) -> tuple[Measurement, Int[Array, ""], ReadoutState]:
        del sites, known
        assert state.light is not None
        key = jax.random.fold_in(state.key, state.measured)
        stages = self._detected(state, state.light, state.squares, key)
        outputs = stages[-1]
        value = jnp.mean(cost(outputs, batch.targets))
        held, keys = state.imperfections, self._keys(key)
        value, status, instances = self._after(held, keys, stages, value)
        after = replace(state, measured=state.measured + 1, imperfections=instances)
        shown = None
        if see >= AccessLevel.OUTPUTS:
            shown = Outputs(outputs, batch.targets, batch.inputs)
        return Measurement(value, shown), status, after

    def outputs(self, state: ReadoutState, inputs: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        """The outputs over the test part, for any inputs; not a measurement in a simulation."""
        del inputs
        assert state.columns is not None
        c = state.columns.test
        squares = state.weights**2 @ c**2 if self.noise.multiplicative else ()
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2**31), state.measured)
        return self._detected(state, state.weights @ c, squares, key)[-1]

    def _detected(
        self,
        state: ReadoutState,
        light: Float[Array, " K"],
        squares: Float[Array, " K"] | tuple[()],
        key: Key[Array, ""],
    ) -> list[Float[Array, "1 K"]]:
        """The outputs: see `_passed_on`."""
        noise, w = self.noise, state.weights
        if self.readout == "coherent":
            light = light**2

        def draw(place: int, *shape: int) -> Float[Array, "..."]:
            here = jax.random.fold_in(key, len(self.imperfections) + place)
            return jax.random.normal(here, shape, light.dtype)

        # independent noise of the neurons adds up to one normal variable at every step
        y = light
        if noise.multiplicative_common:
            y = y + noise.multiplicative_common * light * draw(0, *light.shape)
        if not isinstance(squares, tuple):
            y = y + noise.multiplicative * jnp.sqrt(squares) * draw(1, *light.shape)
        if noise.additive:
            y = y + noise.additive * jnp.sqrt(jnp.sum(w**2)) * draw(2, *light.shape)
        if noise.additive_common:
            y = y + noise.additive_common * jnp.sum(w) * draw(3, *light.shape)
        return self._passed_on(state.imperfections, self._keys(key), y[None])


def on_grid(columns: Float[Array, "N T"]) -> Float[Array, "N T"]:
    """Round to a power of two whose multiples up to `Σ |c|` are exact in single precision."""
    largest = jnp.max(jnp.sum(jnp.abs(columns), axis=0))
    bits = jnp.maximum(MANTISSA - jnp.ceil(jnp.log2(largest)), COARSEST)
    return jnp.round(columns * 2**bits) / 2**bits


def _sum(weights: Float[Array, " K"], rows: Float[Array, "K T"]) -> Float[Array, " T"]:
    """Σ_k weights_k rows_k, several times faster than a matrix product for few rows."""
    return sum((w * row for w, row in zip(weights, rows)), start=jnp.zeros_like(rows[0]))
