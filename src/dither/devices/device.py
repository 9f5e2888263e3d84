"""What passes between an algorithm and a device, and what a traceable device is."""

import enum
from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, Key, Num

from dither._configuration import Configuration
from dither.devices.space import Space
from dither.networks.network import Layer
from dither.tasks.task import Cost, Task


class Sees(enum.IntEnum):
    """What can be seen of a device; each level includes those below it."""

    COST = 0
    """Only the cost of a batch."""
    OUTPUTS = 1
    """The outputs for each sample."""
    SITES = 2
    """Sites where a perturbation can be added to a neuron's input; these and the layers' inputs."""
    GRADIENTS = 3
    """Exact gradients: a simulation only."""


class Status(enum.IntEnum):
    """How a measurement ended. One that is not done has no value, and none is made up for it."""

    DONE = 0
    FAILED = 1
    TIMED_OUT = 2
    ABANDONED = 3


class Clock(eqx.Module):
    """The moment of a probe: `tick` counts perturbations, `part` the measurements within a tick."""

    tick: Int[Array, ""]
    part: Int[Array, ""]


class SparseWrite(eqx.Module):
    """A write of few parameters, such as one mirror; the others stay as they are.

    Attributes: `places`, which of the P parameters, a place of P writing nothing; `values`, what
    to write there.
    """

    places: Int[Array, " K"]
    values: Float[Array, " K"]

    def into(self, parameters: Float[Array, " P"]) -> Float[Array, " P"]:
        """All parameters after the write."""
        return parameters.at[self.places].set(self.values, mode="drop")


class Probe(eqx.Module):
    """One measurement that an algorithm asks for: what to write, what to measure.

    Attributes: `clock`, its moment; `parameters`, to be programmed first, on the device's grid: all
    of them or few; `updated`, whether the unperturbed parameters have changed since the last probe;
    `draw`, the number of the batch to measure; `sites`, what to add to neurons' inputs, by site.
    """

    clock: Clock
    parameters: Float[Array, " P"] | SparseWrite
    updated: Bool[Array, ""]
    draw: Int[Array, ""]
    sites: dict[str, Array] | None = None

    @property
    def theta(self) -> Float[Array, " P"]:
        """All parameters, of a probe that writes them all."""
        if isinstance(self.parameters, SparseWrite):
            raise TypeError("a sparse probe does not say what the other parameters are")
        return self.parameters


class Measurement(eqx.Module):
    """What came back for a probe: the cost of the batch, and more where the device shows it.

    Attributes: `cost`, mean over the batch; `gradient`, with respect to the parameters, None
    unless the algorithm asks to see gradients; `outputs`
    and the `targets` that they are held against, None unless it asks to see at least them;
    `costs` per sample and, by layer, `inputs` x and `preactivations` z with what was added to them,
    None unless it asks to see sites.
    """

    cost: Float[Array, ""]
    gradient: Float[Array, " P"] | None = None
    outputs: Float[Array, "B K"] | None = None
    targets: Num[Array, "B ..."] | None = None
    costs: Float[Array, " B"] | None = None
    inputs: dict[str, Array] | None = None
    preactivations: dict[str, Array] | None = None


class Batch(eqx.Module):
    """The samples of one measurement."""

    inputs: Float[Array, "B ..."]
    targets: Num[Array, "B ..."]


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
    def sees(self) -> Sees:
        """What can be seen of it."""

    @property
    @abstractmethod
    def fails(self) -> bool:
        """Whether a measurement can fail."""

    @property
    def seconds(self) -> float:
        """What one write and one measurement take on the hardware that it stands for."""
        return 0.0

    @property
    def time_out(self) -> float:
        """What a measurement that times out takes beyond the others, in seconds."""
        return 0.0

    @property
    def joules(self) -> float:
        """What one write and one measurement spend on the hardware that it stands for."""
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
        """The state of one specimen: what is programmed into it, its defects, noise and drift."""

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
        see: Sees,
    ) -> tuple[Measurement, Int[Array, ""], Any]:
        """One forward pass of a batch: what is seen of it, its `Status`, and the state after."""

    @abstractmethod
    def outputs(self, state: Any, inputs: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        """The outputs for display; in a simulation this is not a measurement."""
