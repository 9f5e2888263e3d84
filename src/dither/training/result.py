"""What a run ends with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from dither._errors import RequestError
from dither.contract import Space
from dither.training.ledger import Ledger
from dither.training.stop import StopReason


@dataclass(frozen=True)
class Replica:
    """How one replica ended: why it stopped, its score and cost on the test set, its account."""

    seed: int
    stop_reason: StopReason
    score: float | None
    test_cost: float | None
    ledger: dict[str, int | float]

    @property
    def reached(self) -> bool:
        """Whether it came to the score that was asked for."""
        return self.stop_reason is StopReason.SCORE


@dataclass(frozen=True)
class Result:
    """What a run ended with.

    Attributes: `score`, the median over the replicas (None where only a cost can be seen), under
    `score_name`; `stop_reason`; `replicas`; `history`, a tidy DataFrame; `parameters`, R rows of P;
    `space`, which names them; `seed`; `out`, the run's folder; `failure`, the device's last
    complaint; `device`, what was trained, None where that is not known.
    """

    score: float | None
    score_name: str
    stop_reason: StopReason
    replicas: tuple[Replica, ...]
    accounts: Ledger
    history: pd.DataFrame
    parameters: Float[np.ndarray, "R P"]
    space: Space
    seed: int
    out: Path | None
    warnings: tuple[str, ...] = ()
    failure: str = ""
    device: Any = field(default=None, repr=False)

    @property
    def ledger(self) -> dict[str, int | float]:
        """The account of one device: of the replica that measured most."""
        return self.accounts.replica(int(np.argmax(self.accounts.measurements)))

    def predict(self, inputs: Any, replica: int = 0) -> Float[np.ndarray, "B K"]:
        """The outputs of the trained device for new inputs, one row a sample.

        A real device is written to and measured for it, which no ledger counts.

        Arguments: the inputs, as the task has them; which `replica`, from 0.
        Errors: `RequestError` where inputs do not fit, or the device is not known.
        """
        from dither.training.predict import outputs_of

        if not 0 <= replica < len(self.replicas):
            raise RequestError(f"There are {len(self.replicas)} replicas and none is {replica}.")
        seed, theta = self.replicas[replica].seed, self.parameters[replica]
        return outputs_of(self.device, theta, seed, inputs)

    @property
    def succeeded(self) -> bool:
        """Whether the run ended by a stop rule, not by a failure."""
        return not self.stop_reason.failed

    def summary(self) -> dict[str, Any]:
        """The result as plain numbers, as in `result.json`."""
        return {
            "score": self.score,
            "score_name": self.score_name,
            "stop_reason": self.stop_reason,
            "ledger": self.ledger,
            "seed": self.seed,
            "out": str(self.out) if self.out else None,
            "replicas": [vars(replica) for replica in self.replicas],
            "ledger_of_all_replicas": self.accounts.total(),
            "warnings": list(self.warnings),
            "failure": self.failure,
        }
