"""What a traceable device is."""

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
        """What can be seen of it."""

    @property
    @abstractmethod
    def fails(self) -> bool:
        """Whether a measurement can fail."""

    @property
    def count(self) -> int:
        """How many devices it is: more than one for a fleet."""
        return 1

    @property
    def write_seconds(self) -> float:
        """What one write takes on the hardware that it stands for, in seconds."""
        return 0.0

    @property
    def perturbation_seconds(self) -> float:
        """What it takes to add a perturbation at the neurons, in seconds; a write, if not said."""
        return self.write_seconds

    @property
    def measurement_seconds(self) -> float:
        """What one measurement takes on the hardware that it stands for, in seconds."""
        return 0.0

    @property
    def time_out(self) -> float:
        """What a measurement that times out takes beyond the others, in seconds."""
        return 0.0

    @property
    def write_joules(self) -> float:
        """What one write spends on the hardware that it stands for, in joules."""
        return 0.0

    @property
    def perturbation_joules(self) -> float:
        """What a perturbation at the neurons spends, in joules; as a write, if not said."""
        return self.write_joules

    @property
    def measurement_joules(self) -> float:
        """What one measurement spends on the hardware that it stands for, in joules."""
        return 0.0

    @property
    def sample_joules(self) -> float:
        """What converting the outputs of one sample spends, in joules."""
        return 0.0

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose inputs it shows and whose neurons can be perturbed; () if none."""
        return ()

    @abstractmethod
    def check_task(self, task: Task) -> None:
        """Check that the device can learn a task. Errors: `RequestError` for shapes that differ."""

    @abstractmethod
    def fabricate(self, key: Key[Array, ""]) -> Any:
        """The state of one instance: what is programmed into it, its defects, noise and drift."""

    def deal(self, task: Task) -> Task:
        """The task as it is measured: a fleet's batches hold one for each of its devices."""
        return task

    def specimen(self, key: Key[Array, ""], number: int) -> tuple["AbstractDevice", Any]:
        """The number-th device of this make, from 0, and its state.

        Those below `count` are what a run of the key trains, the others it has not seen.
        """
        return self, self.fabricate(specimen_key(key, number))

    def accounts(self, state: Any, account: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The account of each device, from its state and the account of all as one."""
        del state
        return [dict(account)]

    def prepare(self, states: Any, task: Task) -> Any:
        """The states of R replicas with what follows from the task's inputs alone, computed once.

        Not under `jit`.
        """
        del task
        return states

    def bare(self, states: Any) -> Any:
        """The states without what `prepare` can compute again: what a checkpoint holds."""
        return states

    @abstractmethod
    def initial(self, key: Key[Array, ""]) -> Float[Array, " P"]:
        """Parameters to start training from."""

    @abstractmethod
    def write(
        self, state: Any, parameters: Float[Array, " P"] | SparseWrite, updated: Bool[Array, ""]
    ) -> Any:
        """Program the parameters; `updated` says that the unperturbed ones have changed."""

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
        """One forward pass of a batch: what is seen of it, its `Status`, and the state after.

        `known`, what it shares with another pass, is only given where there is `in_layers`, or
        `shares_z` for z alone.
        """

    @property
    def in_layers(self) -> tuple[str, ...]:
        """The layers that a pass is made of, if what one computes depends on its own input only."""
        return ()

    @property
    def shares_z(self) -> bool:
        """Whether z of the first layer depends on parameters and inputs only."""
        return False

    def first_z(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> Float[Array, "B ..."]:
        """z of the first layer, where the device `shares_z`."""
        raise NotImplementedError  # only asked of a device that shares it

    def inputs_of_layers(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> tuple[Float[Array, "B ..."], ...]:
        """The inputs of every layer of `in_layers`, and the last one's outputs."""
        raise NotImplementedError  # only asked of a device that names its layers

    @abstractmethod
    def outputs(self, state: Any, inputs: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        """The outputs for display; in a simulation this is not a measurement."""


FURTHER = 2**30
"""Apart from the numbers that a device folds into its own key."""


def specimen_key(key: Key[Array, ""], number: int) -> Key[Array, ""]:
    """The key by which the number-th device of one make is fabricated; the key itself for 0."""
    return jax.random.fold_in(jax.random.fold_in(key, FURTHER), number) if number else key
