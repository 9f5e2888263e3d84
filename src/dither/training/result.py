"""The result of a run."""

from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither._numbers import whole_number
from dither.contract import Space
from dither.training.ledger import Ledger
from dither.training.stop import StopReason

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Replica:
    """The result of one replica.

    Attributes: `stop_reason`; `score` and `test_cost` on the test set; `ledger`, its costs;
    `learning_rate`, the last one in use, including that of `auto`; None if there is none.
    """

    seed: int
    stop_reason: StopReason
    score: float | None
    test_cost: float | None
    ledger: dict[str, int | float]
    learning_rate: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it reached the target score."""
        return self.stop_reason is StopReason.SCORE


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes: `score`, the median over the replicas (None if the device shows only a cost), called
    `score_name`; `stop_reason`; `replicas`; `history`, a tidy DataFrame; `parameters`, R rows of P;
    `space`, which names them; `seed`; `out`, the run's folder; `failure`, the last error of the
    device; `device` and `task`, None if unknown; `name`, of the run; `aim`, the target score;
    `start_from`, the run whose parameters it started from, if any: the ledger does not include that
    run; `devices`, the ledger, score and test cost of each device of a fleet, one row per device,
    None for a single device: the run's ledger counts a joint measurement of all devices as one, and
    its score is the mean over them; `memory`, the bytes of each layer's inputs that a rule which
    perturbs neurons stores until the costs of a batch are known, empty for other rules.
    """

    score: float | None
    score_name: str
    stop_reason: StopReason
    replicas: tuple[Replica, ...]
    accounts: Ledger
    history: "pd.DataFrame"
    parameters: Float[np.ndarray, "R P"]
    space: Space
    seed: int
    out: Path | None
    warnings: tuple[str, ...] = ()
    failure: str = ""
    device: Any = field(default=None, repr=False)
    task: Any = field(default=None, repr=False)
    name: str = "run"
    aim: float | None = None
    start_from: str | None = None
    devices: "pd.DataFrame | None" = field(default=None, repr=False)
    memory: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def ledger(self) -> dict[str, int | float]:
        """The ledger of the replica with the most measurements."""
        return self.accounts.replica(int(np.argmax(self.accounts.measurements)))

    def predict(self, inputs: Any, replica: int = 0) -> Float[np.ndarray, "B K"]:
        """The outputs of the trained device for new inputs, one row per sample.

        A real device is written and measured for this; no ledger counts it. For a fleet, the
        outputs are those of device 0.

        Arguments: the inputs, as in the task; the index of the `replica`, from 0.
        Errors: `RequestError` if inputs do not fit or the device is unknown.
        """
        from dither.training.predict import outputs_of

        theta = self._parameters_of(replica)
        return outputs_of(self.device, theta, self.replicas[int(replica)].seed, inputs)

    def further(self, number: int = 8, replica: int = 0) -> "pd.DataFrame":
        """Evaluate the trained parameters on simulated devices that were not used in training.

        They are further instances of the same device, each with its own fabrication errors.

        Arguments: the number of devices, ≥ 1; the index of the `replica`, from 0.
        Returns: one row per device: its number, its `score` and its `test_cost` on the test set.
        Errors: `RequestError` if the device or the task is unknown, or the device is not simulated.
        """
        from dither.training.fleet import further_of

        self._parameters_of(replica)
        return further_of(self, whole_number(number, "The number of devices", 1), replica)

    def confusion(self, inputs: Any = None, labels: Any = None, replica: int = 0) -> "pd.DataFrame":
        """The confusion matrix: how many samples of each class were assigned to each class.

        A real device is written and measured for this; no ledger counts it.

        Arguments: inputs, as in the task, and their labels (numbers or names of classes), by
        default the task's test set; the index of the `replica`, from 0.
        Returns: counts, with one row per true class and one column per predicted class.
        Errors: `RequestError` if inputs or labels do not fit, or if there are no classes.
        """
        from dither.training.confusion import confusion_of

        return confusion_of(self, inputs, labels, replica)

    def named(self, replica: int = 0) -> dict[str, np.ndarray]:
        """The trained parameters by name, each in its own shape. `replica` counts from 0."""
        arrays = self.space.parameters
        ends = np.cumsum([one.size for one in arrays])[:-1]
        parts = np.split(self._parameters_of(replica), ends)
        return {one.name: part.reshape(one.shape) for one, part in zip(arrays, parts)}

    def plot(self, ax: Any = None) -> Any:
        """Draw the run's figure with Matplotlib.

        Arguments: `ax`, axes for the test score (or the test cost, if there is no score). If not
        given, a new figure also shows the training cost.
        Returns: the axes of the score.
        """
        from dither.training.figure import plot_result

        return plot_result(self, ax)

    def _repr_html_(self) -> str:
        """The result in a notebook: its numbers and its learning curve."""
        from dither.training.html import result_html

        return result_html(self)

    def _parameters_of(self, replica: int) -> Float[np.ndarray, " P"]:
        if not isinstance(replica, Integral) or not 0 <= replica < len(self.replicas):
            raise RequestError(
                f"The replica {replica} does not exist; the run has {len(self.replicas)} "
                "replicas, from 0."
            )
        return np.asarray(self.parameters[int(replica)])

    @property
    def learning_rate(self) -> float | None:
        """The last learning rate in use, including that of `auto`: the median over the replicas."""
        rates = [one.learning_rate for one in self.replicas if one.learning_rate is not None]
        return float(np.median(rates)) if rates else None

    @property
    def succeeded(self) -> bool:
        """Whether the run ended by a stop rule, not by a failure."""
        return not self.stop_reason.failed

    def _of_devices(self) -> dict[str, Any]:
        """The devices of a fleet as plain numbers, and the sums of their counts."""
        if self.devices is None:
            return {}
        counts = self.devices.drop(columns=["replica", "device", "score", "test_cost"])
        scores = self.devices["score"].to_numpy(float)
        known = bool(np.isfinite(scores).any())
        return {
            "devices": self.devices.astype(object)
            .where(self.devices.notna(), None)
            .to_dict("records"),
            "devices_in_all": {name: counts[name].to_numpy().sum().item() for name in counts},
            "devices_mean_score": float(np.nanmean(scores)) if known else None,
            "devices_worst_score": float(np.nanmin(scores)) if known else None,
        }

    def summary(self) -> dict[str, Any]:
        """The result as plain numbers, as in `result.json`."""
        return {
            "score": self.score,
            "score_name": self.score_name,
            "stop_reason": self.stop_reason,
            "learning_rate": self.learning_rate,
            "ledger": self.ledger,
            "seed": self.seed,
            "out": str(self.out) if self.out else None,
            "start_from": self.start_from,
            "replicas": [vars(replica) for replica in self.replicas],
            "ledger_of_all_replicas": self.accounts.total(),
            **({"memory": self.memory} if self.memory else {}),
            **self._of_devices(),
            "warnings": list(self.warnings),
            "failure": self.failure,
        }
