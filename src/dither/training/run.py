"""A running run: evaluations, stop rules, checkpoints."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from dither._errors import RunError
from dither.contract import Space
from dither.training.checkpoint import load_checkpoint, save_checkpoint
from dither.training.folder import CHECKPOINT
from dither.training.history import COLUMNS, History, known
from dither.training.ledger import Ledger
from dither.training.loop import AbstractLoop
from dither.training.result import Replica, Result
from dither.training.stop import StopReason
from dither.training.until import Until

SECONDS_PER_CALL = 0.3
"""The approximate time of a compiled call, s; after it the driver checks the clock and Ctrl-C."""

LOOK_SECONDS = 1.0
"""The age of a checkpoint, s, from which it is renewed before an evaluation on a device."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run, passed to observers several times per second.

    Attributes: `ledger`, of each replica so far; `history`, so far; `failing`, why a real device
    has failed more than once in a row, empty while it answers; `learning_rate`, at the last
    evaluation, the median over the replicas.
    """

    measurements: int
    most: int | None
    cost: float
    score: float
    score_name: str
    wall_seconds: float
    finished: int
    replicas: int
    ledger: Ledger
    history: History
    failing: str = ""
    learning_rate: float = math.nan


Observer: TypeAlias = Callable[[Progress], None]
"""A function called with a `Progress` several times per second."""


class Run:
    """The state of a running run: its history, its finished replicas, its checkpoints."""

    def __init__(
        self,
        loop: AbstractLoop,
        until: Until,
        every: int,
        seeds: list[int],
        out: Path | None,
        digest: str | Mapping[str, str],
        checkpoint_seconds: float,
        score_name: str,
    ) -> None:
        self.loop, self.until, self.every, self.seeds, self.out = loop, until, every, seeds, out
        self.digest, self.checkpoint_seconds = digest, checkpoint_seconds
        self.score_name = score_name
        self.history = History(seeds)
        self.last_row: Float[np.ndarray, "C R"] | None = None
        self.ledger = Ledger.empty(len(seeds))
        self.reasons = np.full(len(seeds), "", dtype="U16")
        self.settled = self.reasons.copy()
        self.parameters: Float[np.ndarray, "R P"] | None = None
        self.wall_before, self.started = 0.0, time.monotonic()
        self.saved = time.monotonic()
        self.cost = self.score = self.rate = math.nan
        self.failure = ""

    def wall_seconds(self) -> float:
        """The wall time, including that before a resume, s."""
        return self.wall_before + time.monotonic() - self.started

    def go(self, observers: Sequence[Observer], interrupted: Callable[[], bool]) -> StopReason:
        """Advance until a stop rule is met, and return it."""
        size, until, loop = 16, self.until, self.loop
        while True:
            partial, cost, in_a_row = loop.account()
            total = self.ledger + partial
            measured = int(np.asarray(loop.carry.tally.measurements).max())
            reason = self._limit(total, in_a_row)
            if reason is None and interrupted():
                reason = StopReason.INTERRUPTED
            on_grid = measured >= self.every
            if on_grid or (reason and measured):
                if loop.real:
                    # an evaluation on a device may take long
                    self._save_if_older(LOOK_SECONDS)
                try:
                    self._evaluate(on_grid)
                except RunError as error:
                    self.failure, reason = str(error), StopReason.FAILURES
            if np.all(self.reasons != ""):
                reasons, counts = np.unique(self.reasons, return_counts=True)
                return StopReason(str(reasons[np.argmax(counts)]))
            if reason:
                self.reasons[self.reasons == ""] = reason
                return reason
            if on_grid:
                continue
            if measured:
                self.cost = float(np.median(cost))
            now = Progress(
                int(total.measurements.max()), until.measurements, self.cost,
                self.score, self.score_name, self.wall_seconds(),
                int((self.reasons != "").sum()), len(self.seeds), total, self.history,
                loop.last_failure if in_a_row > 1 else "", self.rate,
            )  # fmt: skip
            for observe in observers:
                observe(now)
            self._save_if_older(self.checkpoint_seconds)
            n = self._room(total, min(size, self.every - measured))
            before = time.monotonic()
            loop.advance(n)
            pace = (time.monotonic() - before) / n
            size = int(min(4 * size, max(1, SECONDS_PER_CALL / pace)))

    def _room(self, total: Ledger, n: int) -> int:
        most = self._most()
        if most is not None:
            n = min(n, most - int(total.measurements.max()))
        each = self.loop.seconds_per_measurement()
        if self.until.device_seconds is not None and each > 0:
            left = self.until.device_seconds - float(total.device_seconds.max())
            n = min(n, math.ceil(left / each - 1e-9))
        return max(n, 1)

    def _most(self) -> int | None:
        """The measurements available before the last evaluation, which takes some on a device."""
        if self.until.measurements is None:
            return None
        return max(1, self.until.measurements - self.loop.measurements_per_evaluation())

    def _limit(self, total: Ledger, failed_in_a_row: int) -> StopReason | None:
        until = self.until
        if failed_in_a_row >= until.failures:
            self.failure = self.loop.given_up()
            return StopReason.FAILURES
        most = self._most()
        if most is not None and total.measurements.max() >= most:
            return StopReason.MEASUREMENTS
        if until.device_seconds is not None:
            spent = float(total.device_seconds.max())
            if spent >= until.device_seconds * (1 - 1e-12):
                return StopReason.DEVICE_SECONDS
        if until.wall_seconds is not None and self.wall_seconds() >= until.wall_seconds:
            return StopReason.WALL_SECONDS
        return None

    def _evaluate(self, on_grid: bool) -> None:
        drift = self.loop.drift()
        seen = self.loop.evaluate()
        partial, cost, _ = self.loop.account()
        total = self.ledger + partial
        row = self.history.row(total, self.wall_seconds(), drift, cost, seen)
        running, theta = self.reasons == "", seen.parameters
        if self.parameters is None:
            self.parameters = theta.copy()
        self.parameters[running] = theta[running]
        row[:, ~running] = np.nan
        self.score, self.rate = _median(row[-1]), _median(row[COLUMNS.index("learning_rate")])
        if not on_grid:
            self.last_row = row
        else:
            self.last_row = None
            self.history.rows.append(row)
            self.ledger = total
            self.loop.clear()
        if self.until.score is not None:
            self.reasons[running & self._confirmed(self.until.score)] = StopReason.SCORE
        self.reasons[running & ~np.isfinite(theta).all(axis=1)] = StopReason.DIVERGED
        if self.until.plateau is not None:
            self.reasons[running & (self.reasons == "") & self._flat()] = StopReason.PLATEAU
        if on_grid:
            # an extra evaluation changes no state: an undisturbed run would not have it
            self.settled = self.reasons.copy()
        if on_grid:
            # measurements of a device cannot be recomputed
            self._save_if_older(0.0 if self.loop.real else self.checkpoint_seconds)

    def _save_if_older(self, seconds: float) -> None:
        """Write the checkpoint if the last one is older than this."""
        if self.out is not None and time.monotonic() - self.saved >= seconds:
            self.save()

    def rows(self) -> list[Float[np.ndarray, "C R"]]:
        """Every evaluation, including an extra one at the end."""
        return [*self.history.rows, *([] if self.last_row is None else [self.last_row])]

    def _confirmed(self, aim: float) -> np.ndarray:
        """Which replicas have reached the score in the required number of evaluations in a row."""
        last = np.array([row[-1] >= aim for row in self.rows()[-self.until.confirm :]])
        return np.asarray(last.all(axis=0) & (len(last) == self.until.confirm))

    def _flat(self) -> np.ndarray:
        """Which replicas have not improved their score (or cost) for `plateau` measurements."""
        rows = np.stack(self.rows())
        measured = rows[:, COLUMNS.index("measurements")]
        worth = rows[:, COLUMNS.index("score")] if self.loop.scores else -rows[:, -2]
        best = np.nanargmax(np.where(np.isnan(worth), -np.inf, worth), axis=0)
        since = measured[-1] - measured[best, np.arange(len(best))]
        return np.asarray(since >= (self.until.plateau or 0))

    def save(self) -> None:
        """Write the checkpoint."""
        # if the folder was deleted, the run is saved beside it at the end
        if self.out is None or not self.out.is_dir():
            return
        about = {
            "digest": self.digest,
            "wall_seconds": self.wall_seconds(),
            "every": self.every,
            "plateau": self.until.plateau,
            "score": self.until.score,
        }
        file = self.out / CHECKPOINT
        try:
            save_checkpoint(file, self.loop.to_save(), self._arrays(), about)
        except RunError as error:
            so_far = (
                "--resume continues from it" if file.is_file() else "no checkpoint was saved yet"
            )
            raise RunError(f"{str(error).rstrip('.')}; {so_far}.") from None
        self.saved = time.monotonic()

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a checkpoint other than the loop's carry."""
        partial, _, _ = self.loop.account()
        rows, none = self.history.rows, np.zeros((len(self.seeds), 0))
        return {
            "rows": np.array(rows).reshape(len(rows), len(COLUMNS), len(self.seeds)),
            "reasons": self.settled,
            "parameters": none if self.parameters is None else self.parameters,
            **{f"ledger.{name}": value for name, value in vars(self.ledger).items()},
            **{f"partial.{name}": value for name, value in vars(partial).items()},
        }

    def resume(self) -> None:
        """Continue from the checkpoint."""
        assert self.out is not None
        path = self.out / CHECKPOINT
        carry, arrays, about = load_checkpoint(
            path, self.loop.to_save(), self.digest, self._arrays()
        )
        self.history.rows = list(arrays["rows"])
        self.ledger = _ledger(arrays, "ledger.")
        self.loop.resume(carry, _ledger(arrays, "partial."))
        self.parameters = arrays["parameters"] if arrays["parameters"].size else None
        final = [StopReason.DIVERGED]
        if self.until.score is not None and (about.score or math.inf) >= self.until.score:
            final.append(StopReason.SCORE)
        if about.plateau == self.until.plateau:
            final.append(StopReason.PLATEAU)
        self.reasons = np.where(np.isin(arrays["reasons"], final), arrays["reasons"], "")
        self.settled = self.reasons.copy()
        self.wall_before = about.wall_seconds
        self.every = about.every

    def result(self, reason: StopReason, traps: tuple[str, ...], space: Space) -> Result:
        """The result of the run so far."""
        history = self.history.frame(self.rows())
        last = history.groupby("replica").last(skipna=False)
        ends = []
        for number, seed in enumerate(self.seeds):
            row: dict[str, Any] = dict(last.loc[number]) if number in last.index else {}
            why = StopReason(str(self.reasons[number]))
            seen = known(row.get("score")), known(row.get("test_cost"))
            account, rate = self._account_of(number, why, row), known(row.get("learning_rate"))
            ends.append(Replica(seed, why, *seen, account, rate))
        scores = [end.score for end in ends if end.score is not None]
        columns = {name: np.array([end.ledger[name] for end in ends]) for name in vars(self.ledger)}
        parameters = self.parameters
        if parameters is None:
            parameters = np.full((len(self.seeds), space.size), np.nan)
        return Result(
            score=float(np.median(scores)) if scores else None,
            score_name=self.score_name,
            stop_reason=reason,
            replicas=tuple(ends),
            accounts=Ledger(**columns),
            history=history,
            parameters=parameters,
            space=space,
            seed=self.seeds[0],
            out=self.out,
            warnings=traps,
            failure=self.failure,
        )

    def _account_of(
        self, number: int, why: StopReason, last: Mapping[str, Any]
    ) -> dict[str, int | float]:
        partial, _, _ = self.loop.account()
        now = (self.ledger + partial).replica(number)
        if not last or not why.of_replica:
            return now
        return {name: type(value)(last[name]) for name, value in now.items()}


def _median(values: Float[np.ndarray, " R"]) -> float:
    """The median over the replicas with data; NaN without data."""
    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def _ledger(arrays: Mapping[str, np.ndarray], prefix: str) -> Ledger:
    return Ledger(
        **{n.removeprefix(prefix): a.copy() for n, a in arrays.items() if n.startswith(prefix)}
    )
