"""The common base of simulated devices: imperfections, time and energy."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.contract import Status
from dither.devices.device import AbstractDevice
from dither.devices.imperfections import AnyImperfection


class AbstractSimulation(AbstractDevice):
    """A device with imperfections, with time and energy for writes and measurements.

    ```
    seconds = writes · per write + perturbations · per perturbation + measurements · per measurement
    ```

    and joules likewise, plus the energy of converters: for P parameters per write, and for the
    outputs of every sample. A perturbation is one of the neurons in the measurement of a batch.
    Converters must set it each time, so that by default it costs as much as a write. With separate
    converters for the n neurons, it takes their settling time and the energy of n conversions
    instead of P.

    Arguments: `imperfections`, applied in order; `seconds_per_write`, `seconds_per_measurement`,
    `seconds_per_perturbation`, `joules_per_write`, `joules_per_measurement`,
    `joules_per_perturbation`, the costs on the modelled hardware.
    """

    imperfections: tuple[AnyImperfection, ...] = ()
    seconds_per_write: Annotated[float, Field(ge=0)] = 0.0
    seconds_per_measurement: Annotated[float, Field(ge=0)] = 0.0
    seconds_per_perturbation: Annotated[float, Field(ge=0)] | None = None
    joules_per_write: Annotated[float, Field(ge=0)] = 0.0
    joules_per_measurement: Annotated[float, Field(ge=0)] = 0.0
    joules_per_perturbation: Annotated[float, Field(ge=0)] | None = None

    @property
    def fails(self) -> bool:
        return any(imperfection.fails for imperfection in self.imperfections)

    @property
    def write_seconds(self) -> float:
        return self.seconds_per_write

    @property
    def perturbation_seconds(self) -> float:
        own = self.seconds_per_perturbation
        return self.write_seconds if own is None else own

    @property
    def measurement_seconds(self) -> float:
        added = sum(imperfection.seconds for imperfection in self.imperfections)
        return self.seconds_per_measurement + added

    @property
    def time_out(self) -> float:
        return max((imperfection.time_out for imperfection in self.imperfections), default=0.0)

    @property
    def write_joules(self) -> float:
        return self.joules_per_write + self._converting()[0]

    @property
    def perturbation_joules(self) -> float:
        own = self.joules_per_perturbation
        return self.write_joules if own is None else own

    @property
    def measurement_joules(self) -> float:
        return self.joules_per_measurement

    @property
    def sample_joules(self) -> float:
        return self._converting()[1]

    def _converting(self) -> tuple[float, float]:
        """Joules of the converters for a write and for a sample."""
        each = [one.joules(self.space.size, self._read_out) for one in self.imperfections]
        return sum((a for a, _ in each), start=0.0), sum((b for _, b in each), start=0.0)

    @property
    def _read_out(self) -> int:
        """The outputs of a sample."""
        return 1

    def _keys(self, now: Key[Array, ""]) -> list[Key[Array, ""]]:
        """A key for each imperfection."""
        return [jax.random.fold_in(now, number) for number in range(len(self.imperfections))]

    def _passed_on(
        self, held: tuple[Any, ...], keys: list[Key[Array, ""]], outputs: Float[Array, "B K"]
    ) -> list[Float[Array, "B K"]]:
        """The outputs before each imperfection, and finally as they are read."""
        stages = [outputs]
        for imperfection, instance, key in zip(self.imperfections, held, keys):
            stages.append(imperfection.outputs(instance, key, stages[-1]))
        return stages

    def _after(
        self,
        held: tuple[Any, ...],
        keys: list[Key[Array, ""]],
        stages: list[Float[Array, "B K"]],
        cost: Float[Array, "*B"],
    ) -> tuple[Float[Array, "*B"], Int[Array, ""], tuple[Any, ...]]:
        """The cost as read, the status of the measurement, and the imperfections' new states."""
        status, after = jnp.int32(Status.DONE), []
        for imperfection, instance, key, outputs in zip(self.imperfections, held, keys, stages):
            cost = imperfection.cost(instance, key, cost)
            status = jnp.maximum(status, imperfection.status(instance, key))
            after.append(imperfection.measured(instance, key, outputs))
        return cost, status, tuple(after)
