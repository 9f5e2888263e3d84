"""The loop around a device: what it carries from measurement to measurement, and what it offers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dither.algorithms.algorithm import State
from dither.training.ledger import Ledger


class Tally(eqx.Module):
    """What has happened since the last evaluation."""

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
        """Nothing yet."""
        zero = jnp.int32(0)
        return Tally(zero, zero, zero, jnp.zeros(()), zero, zero, zero)


class Carry(eqx.Module):
    """All that is needed to go on: the algorithm's state, the device's, the key of the batches.

    `varied` holds the settings in which this replica differs from the others; `taken_off`, what is
    taken off a device's own costs; `sampling`, what the task's sampler has learned.
    """

    algorithm: State
    device: Any
    data: Key[Array, ""]
    tally: Tally
    varied: dict[str, Any] = eqx.field(default_factory=dict)
    taken_off: Any = ()
    sampling: Any = ()


class Evaluation(NamedTuple):
    """What the test set shows of every replica, its parameters, the learning rate in use."""

    score: Float[np.ndarray, " R"]
    cost: Float[np.ndarray, " R"]
    parameters: Float[np.ndarray, "R P"]
    rate: Float[np.ndarray, " R"]


class AbstractLoop(ABC):
    """Advances the replicas of a device and keeps their account since the last evaluation.

    Attributes: `replicas`, how many; `carry`; `scores`, whether outputs are seen, which can be
    scored, or only a cost; `alarms`, sentences on what was noticed on the way; `last_failure`, why
    the last failed measurement failed, and `traceback`, all of how it did; `real`, whether a real
    device is measured, which cannot be computed again.
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
        """Every replica n measurements on, or fewer where the device fails or takes too long."""

    @abstractmethod
    def account(self) -> tuple[Ledger, Float[np.ndarray, " R"], int]:
        """Since the last evaluation: the ledger, the mean cost, the most failures in a row."""

    @abstractmethod
    def clear(self) -> None:
        """Begin a new account."""

    @abstractmethod
    def evaluate(self) -> Evaluation:
        """Look at the test set; on a device this takes measurements.

        Errors: `RunError` where the device fails too many times in a row.
        """

    @abstractmethod
    def drift(self) -> Float[np.ndarray, " R"]:
        """How far the cost of the parameters at the start has moved, NaN where it is not watched.

        To be followed by `evaluate`, which writes the parameters that training has reached.
        """

    @abstractmethod
    def to_save(self) -> Carry:
        """The carry without what can be computed again, or cannot be saved."""

    @abstractmethod
    def resume(self, carry: Carry, partial: Ledger) -> None:
        """Go on from a carry that was saved, and the account since the last evaluation."""

    @abstractmethod
    def given_up(self) -> str:
        """Why the device is given up, and what to do."""

    @abstractmethod
    def measurements_per_evaluation(self) -> int:
        """How many measurements an evaluation takes; in a simulation it is none."""

    @abstractmethod
    def seconds_per_measurement(self) -> float:
        """The most that a measurement and its write take on the device; 0 where not known."""
