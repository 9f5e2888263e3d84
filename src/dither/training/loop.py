"""The loop around a device: its state and its interface."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dither.algorithms.algorithm import State
from dither.training.ledger import Ledger


class Tally(eqx.Module):
    """The counts since the last evaluation."""

    measurements: Int[Array | np.ndarray, "*R"]
    failed: Int[Array | np.ndarray, "*R"]
    failed_in_a_row: Int[Array | np.ndarray, "*R"]
    cost: Float[Array | np.ndarray, "*R"]
    timed_out: Int[Array | np.ndarray, "*R"] = eqx.field(
        default_factory=lambda: np.zeros((), np.int32)
    )
    writes: Int[Array | np.ndarray, "*R"] = eqx.field(
        default_factory=lambda: np.zeros((), np.int32)
    )
    perturbations: Int[Array | np.ndarray, "*R"] = eqx.field(
        default_factory=lambda: np.zeros((), np.int32)
    )

    @staticmethod
    def empty() -> "Tally":
        """An empty tally."""
        zero = jnp.int32(0)
        return Tally(zero, zero, zero, jnp.zeros(()), zero, zero, zero)


class Carry(eqx.Module):
    """The complete state: of the algorithm, of the device, and the key of the batches.

    `varied` holds the settings in which this replica differs from the others; `taken_off`, the
    constant subtracted from the device's costs; `sampling`, the state of the task's sampler.
    """

    algorithm: State
    device: Any
    data: Key[Array, ""]
    tally: Tally
    varied: dict[str, Any] = eqx.field(default_factory=dict)
    taken_off: Any = ()
    sampling: Any = ()


class Evaluation(NamedTuple):
    """The test results of every replica, its parameters, and its learning rate."""

    score: Float[np.ndarray, " R"]
    cost: Float[np.ndarray, " R"]
    parameters: Float[np.ndarray, "R P"]
    rate: Float[np.ndarray, " R"]


class AbstractLoop(ABC):
    """Advances the replicas of a device and keeps their ledger since the last evaluation.

    Attributes: `replicas`, their number; `carry`; `scores`, whether outputs are available and can
    be scored, not only a cost; `alarms`, messages for the user; `last_failure`, the cause of the
    last failed measurement, and `traceback`, its traceback; `real`, whether a real device is
    measured, whose measurements cannot be recomputed.
    """

    replicas: int
    carry: Carry
    scores: bool
    alarms: list[str]
    last_failure: str
    traceback: str = ""
    real: ClassVar[bool] = False

    @abstractmethod
    def advance(self, n: int) -> None:
        """Advance every replica by n measurements, or fewer if the device fails or is slow."""

    @abstractmethod
    def account(self) -> tuple[Ledger, Float[np.ndarray, " R"], int]:
        """The ledger, the mean cost and the most failures in a row since the last evaluation."""

    @abstractmethod
    def clear(self) -> None:
        """Reset the counts."""

    @abstractmethod
    def evaluate(self) -> Evaluation:
        """Evaluate the test set; on a real device this takes measurements.

        Errors: `RunError` if the device fails too many times in a row.
        """

    @abstractmethod
    def drift(self) -> Float[np.ndarray, " R"]:
        """The change of the initial parameters' cost, NaN if drift is not watched.

        Call `evaluate` afterwards, which writes the present parameters again.
        """

    @abstractmethod
    def to_save(self) -> Carry:
        """The carry without parts that can be recomputed or cannot be saved."""

    @abstractmethod
    def resume(self, carry: Carry, partial: Ledger) -> None:
        """Continue from a saved carry and the counts since the last evaluation."""

    @abstractmethod
    def given_up(self) -> str:
        """Why the run ends because of the device, and what to do."""

    @abstractmethod
    def measurements_per_evaluation(self) -> int:
        """The measurements per evaluation; 0 in a simulation."""

    @abstractmethod
    def seconds_per_measurement(self) -> float:
        """The longest time of a measurement with its write on the device, s; 0 if unknown."""
