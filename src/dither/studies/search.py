"""The search of one setting in a cell of a study, by Optuna."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from dither._configuration import Configuration
from dither._words import rounded
from dither.training.result import Replica
from dither.training.until import Until

FIRST_SEED = 1_000_000_000
"""Trials have seeds of their own, so that no run is chosen for its luck."""

DIVERGED = 10.0
"""What a run that diverged counts for, in budgets."""


class Search(Configuration):
    """A setting looked for on a logarithmic scale, in each cell of a study before its runs.

    The first round of trials lies evenly between the ends; the later ones are Optuna's (TPE), from
    what the trials before have shown. A trial is worth the median over its seeds of the
    measurements to the target; a run that has not come to it counts for the whole budget times
    one plus what its score lacks. Without a target the score itself counts. Where there is a
    target and one round, the round ends as soon as no value can overtake the first.

    Arguments:
        key: the setting's key path.
        low, high: between which values; > 0.
        values: the values to try, all in one round, instead of `low`, `high` and `trials`.
        share: of a value's seeds that must come to the target; in (0, 1), the median if not given.
        trials: how many values are tried.
        at_once: trials in a round, which run side by side.
        seeds: runs for each trial.
        measurements: the most of each of them; as many as the study's runs have, if not given.
    """

    key: str = "algorithm.learning_rate"
    low: Annotated[float, Field(gt=0)] | None = None
    high: Annotated[float, Field(gt=0)] | None = None
    values: tuple[Annotated[float, Field(gt=0)], ...] = ()
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    trials: Annotated[int, Field(ge=2)] = 12
    at_once: Annotated[int, Field(ge=2)] = 4
    seeds: Annotated[int, Field(ge=1)] = 3
    measurements: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _wide(self) -> "Search":
        if (self.low is None) != (self.high is None) or (self.low is None) != bool(self.values):
            raise ValueError("a search needs either low and high or a list of values")
        low, high = self.ends
        if not self.values and low >= high:
            raise ValueError(f"low must be below high, and {low:g} is not below {high:g}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value."""
        return self.low or min(self.values), self.high or max(self.values)

    @property
    def number(self) -> int:
        """How many values are tried."""
        return len(self.values) or self.trials

    def asked(self) -> dict[str, Any]:
        """What decides the search, as a table."""
        return self.model_dump(mode="json", exclude={"values", "share"} - self.model_fields_set)

    def propose(self, tried: Sequence[float], worth: Sequence[float]) -> list[float]:
        """The values of the next round; none when the trials are used up.

        Arguments: the values tried so far, and what each of them was worth (less is better).
        """
        if self.values:
            return [] if tried else list(self.values)
        low, high = self.ends
        wanted = min(self.at_once, self.trials - len(tried))
        if not tried:
            spaced = np.geomspace(low, high, wanted)
            return [rounded(value, 3) for value in spaced]
        if wanted < 1:
            return []
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        scale = optuna.distributions.FloatDistribution(low, high, log=True)
        sampler = optuna.samplers.TPESampler(
            seed=len(tried), n_startup_trials=self.at_once, constant_liar=True
        )
        study = optuna.create_study(sampler=sampler)
        for value, worth_of_it in zip(tried, worth):
            study.add_trial(
                optuna.trial.create_trial(
                    params={self.key: min(max(value, low), high)},
                    distributions={self.key: scale},
                    value=worth_of_it,
                )
            )
        asked = [study.ask({self.key: scale}).params[self.key] for _ in range(wanted)]
        return [rounded(value, 3) for value in asked]

    def worth(self, runs: Sequence[Replica], until: Until) -> float:
        """What a trial is worth, from its runs; less is better."""
        budget = float(self.measurements or until.measurements or 1)
        each = [_worth(run, until.score, budget) for run in runs]
        return float(np.quantile(each, self.share, method="averaged_inverted_cdf"))

    def decided(self, reasons: np.ndarray) -> bool:
        """Whether the trials of a round that is the only one can end, by why each has stopped."""
        if not self.values and self.trials > self.at_once:
            return False
        reached = np.reshape(reasons == "score", (-1, self.seeds)).sum(axis=1)
        return bool(reached.max() > int(self.share * self.seeds))


def _worth(run: Replica, target: float | None, budget: float) -> float:
    if run.reached:
        return float(run.ledger["measurements"])
    if run.score is None or run.stop_reason.failed:
        return DIVERGED * budget
    if target is None:
        return -run.score * budget
    return budget * (1 + max(target - run.score, 0.0))
