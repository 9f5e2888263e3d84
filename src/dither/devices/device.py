"""The base class of traceable devices."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import AccessLevel, Batch, Cost, Known, Layer, Measurement, Space, SparseWrite
from dither.tasks.task import Task


class AbstractDevice(Configuration):
    """A device that JAX can trace: a simulation, as pure functions over an explicit state.

    Real devices are Python objects: see `PythonDevice`.
    """

    kind: str

    @property
    @abstractmethod
    def space(self) -> Space:
        """The parameters that can be programmed."""

    @property
    @abstractmethod
    def access_level(self) -> AccessLevel:
        """What can be measured of the device."""

    @property
    @abstractmethod
    def fails(self) -> bool:
        """Whether a measurement can fail."""

    @property
    def count(self) -> int:
        """The number of devices, more than one for a fleet."""
        return 1

    @property
    def write_seconds(self) -> float:
        """The time of one write on the modelled hardware, s."""
        return 0.0

    @property
    def perturbation_seconds(self) -> float:
        """The time to perturb the neurons, s; by default that of a write."""
        return self.write_seconds

    @property
    def measurement_seconds(self) -> float:
        """The time of one measurement on the modelled hardware, s."""
        return 0.0

    @property
    def time_out(self) -> float:
        """The additional time of a measurement that times out, s."""
        return 0.0

    @property
    def write_joules(self) -> float:
        """The energy of one write on the modelled hardware, J."""
        return 0.0

    @property
    def perturbation_joules(self) -> float:
        """The energy of a perturbation of the neurons, J; by default that of a write."""
        return self.write_joules

    @property
    def measurement_joules(self) -> float:
        """The energy of one measurement on the modelled hardware, J."""
        return 0.0

    @property
    def sample_joules(self) -> float:
        """The energy of converting the outputs of one sample, J."""
        return 0.0

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose inputs can be read and whose neurons can be perturbed; () if none."""
        return ()

    @abstractmethod
    def check_task(self, task: Task) -> None:
        """Check that the device suits a task. Errors: `RequestError` for mismatched shapes."""

    @abstractmethod
    def fabricate(self, key: Key[Array, ""]) -> Any:
        """The state of one instance: its parameters, imperfections, noise and drift."""

    def deal(self, task: Task) -> Task:
        """The task as it is measured: a fleet's batch holds one batch per device."""
        return task

    def specimen(self, key: Key[Array, ""], number: int) -> tuple["AbstractDevice", Any]:
        """The number-th instance of this device, from 0, and its state.

        A run with this key trains those below `count` and does not use the others.
        """
        return self, self.fabricate(specimen_key(key, number))

    def accounts(self, state: Any, account: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The ledger of each device, from its state and the joint ledger."""
        del state
        return [dict(account)]

    def prepare(self, states: Any, task: Task) -> Any:
        """The states of R replicas, with everything that depends only on the task's inputs.

        Not under `jit`.
        """
        del task
        return states

    def bare(self, states: Any) -> Any:
        """The states without what `prepare` can recompute, as stored in a checkpoint."""
        return states

    @abstractmethod
    def initial(self, key: Key[Array, ""]) -> Float[Array, " P"]:
        """The initial parameters for training."""

    @abstractmethod
    def write(
        self, state: Any, parameters: Float[Array, " P"] | SparseWrite, updated: Bool[Array, ""]
    ) -> Any:
        """Program the parameters; `updated`: whether the unperturbed ones have changed."""

    @abstractmethod
    def measure(
        self,
        state: Any,
        batch: Batch,
        cost: Cost,
        sites: dict[str, Array] | None,
        see: AccessLevel,
        known: Known | None = None,
    ) -> tuple[Measurement, Int[Array, ""], Any]:
        """One forward pass of a batch: the measurement, its `Status`, and the state after it.

        `known`, the part shared with another pass, is only given if there is `in_layers`, or, for z
        alone, `shares_z`.
        """

    @property
    def in_layers(self) -> tuple[str, ...]:
        """The layers of a pass, if the result of each depends only on its own input."""
        return ()

    @property
    def shares_z(self) -> bool:
        """Whether z of the first layer depends only on parameters and inputs."""
        return False

    def first_z(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> Float[Array, "B ..."]:
        """z of the first layer, if the device `shares_z`."""
        raise NotImplementedError  # only called for a device that shares it

    def inputs_of_layers(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> tuple[Float[Array, "B ..."], ...]:
        """The inputs of every layer of `in_layers`, and the outputs of the last one."""
        raise NotImplementedError  # only called for a device that names its layers

    @abstractmethod
    def outputs(self, state: Any, inputs: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        """The outputs for display; in a simulation this does not count as a measurement."""


FURTHER = 2**30
"""An offset beyond the numbers that a device folds into its own key."""


def specimen_key(key: Key[Array, ""], number: int) -> Key[Array, ""]:
    """The fabrication key of the number-th instance of a device; the key itself for 0."""
    return jax.random.fold_in(jax.random.fold_in(key, FURTHER), number) if number else key
