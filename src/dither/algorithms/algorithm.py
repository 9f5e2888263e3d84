"""What a training algorithm is."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
from jaxtyping import Array, Bool, Float, Key

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.contract import AccessLevel, Clock, Measurement, Probe, Space
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.task import Task

State: TypeAlias = Any
"""An algorithm's state: a pytree with a field `clock`, and all that is needed to go on."""


class Info(eqx.Module):
    """What there is to look at after a measurement.

    Attributes: `updated`, whether the parameters have just been updated; `estimate`, the gradient
    estimate at that moment, of which the update was made (in the unbiased convention),
    None for rules that make none.
    """

    updated: Bool[Array, ""]
    estimate: Float[Array, " P"] | None = None


class AbstractAlgorithm(Configuration):
    """A training algorithm: a frozen configuration and pure functions `init`, `ask`, `tell`.

    The loop asks for a probe, writes and measures it, and tells what came back. The state holds all
    that is needed to go on. A measurement that failed is not told, and asked `again`.
    """

    kind: str
    access_level: ClassVar[AccessLevel] = AccessLevel.COST
    sparse: ClassVar[bool] = False
    """Whether its probes are sparse writes, for which the device must hold the parameters first."""

    def for_task(self, task: Task) -> "AbstractAlgorithm":
        """The algorithm with what it must know of the task's sizes."""
        del task
        return self

    def for_device(self, device: AbstractDevice | PythonDevice) -> "AbstractAlgorithm":
        """The algorithm with what it must know of the device's layers. Errors: `RequestError`."""
        del device
        return self

    def check_space(self, space: Space) -> None:
        """Check that it can train what can be programmed. Errors: `RequestError`."""
        for parameter in space.parameters:
            if parameter.levels in (2, 3):
                raise RequestError(
                    f"The algorithm {self.kind} moves by small steps and parameter "
                    f"'{parameter.name}' has only {parameter.levels} levels; take "
                    "coordinate-descent."
                )

    @abstractmethod
    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space) -> State:
        """The state to start from: a key, the initial parameters, the device's space."""

    @abstractmethod
    def ask(self, state: State) -> tuple[Probe, State]:
        """The next probe, and the state whose clock has moved on."""

    @abstractmethod
    def tell(self, state: State, probe: Probe, measurement: Measurement) -> tuple[State, Info]:
        """The state after a probe's measurement, and what there is to look at."""

    @abstractmethod
    def parameters(self, state: State) -> Float[Array, " P"]:
        """The parameters that training has reached, as the device can be set to."""

    def lookahead(self, space: Space, clock: Clock) -> int:
        """How many probes from this moment on can be asked before the first of them is told."""
        del space, clock
        return 1

    def retry(self, clock: Clock) -> Clock:
        """Where to go on after the measurement at a moment has failed: there again.

        A rule of pairs begins the pair again, so that its two sides are measured next to each
        other; what it was told of the first side, it will be told anew.
        """
        return clock

    def on_drift(self, state: State) -> State:
        """The state once the device has drifted: what is remembered of old costs is stale.

        A pair under way is begun again, and a baseline measured anew.
        """
        return eqx.tree_at(lambda s: s.clock, state, self.retry(state.clock))

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        """What in the settings is likely a mistake, each with what to change.

        Arguments: the device's space; the measurements that the run may take, None if unbounded.
        """
        del space, measurements
        return []
