"""The search for one setting in a cell of a study, with Optuna."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from dither._configuration import Configuration
from dither._words import rounded
from dither.training.result import Replica
from dither.training.until import Until

FIRST_SEED = 1_000_000_000
"""The first seed of trials, which do not share seeds with runs, to avoid selection bias."""

DIVERGED = 10.0
"""The cost of a diverged run, in budgets."""


class Search(Configuration):
    """A search for a setting on a logarithmic scale, in each cell of a study before its runs.

    The first round of trials is evenly spaced between the ends; later ones are chosen by Optuna
    (TPE) from earlier results. The value of a trial is the median over its seeds of the
    measurements to the target; a run that missed it counts as the budget times one plus its gap to
    the target. Without a target the score is used. With a target and a single round, the round ends
    as soon as no value can overtake the best.

    Arguments:
        key: the setting's key path.
        low, high: the ends of the range, > 0.
        values: the values to try, in one round, instead of `low`, `high` and `trials`.
        share: the share of a value's seeds that must reach the target, in (0, 1); by default the
            median is used.
        trials: the number of values to try.
        at_once: trials per round, which run in parallel.
        seeds: runs per trial.
        measurements: the budget of each of these runs, by default that of the study's runs.
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
            raise ValueError(f"low must be below high, but {low:g} is not below {high:g}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self.low or min(self.values), self.high or max(self.values)

    @property
    def number(self) -> int:
        """The number of values to try."""
        return len(self.values) or self.trials

    def asked(self) -> dict[str, Any]:
        """The settings that determine the search, as a table."""
        return self.model_dump(mode="json", exclude={"values", "share"} - self.model_fields_set)

    def propose(self, tried: Sequence[float], worth: Sequence[float]) -> list[float]:
        """The values of the next round; none after the last trial.

        Arguments: the values tried so far, and the result of each (lower is better).
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
        """The result of a trial from its runs; lower is better."""
        budget = float(self.measurements or until.measurements or 1)
        each = [_worth(run, until.score, budget) for run in runs]
        return float(np.quantile(each, self.share, method="averaged_inverted_cdf"))

    def decided(self, reasons: np.ndarray) -> bool:
        """Whether the trials of a single round can end, given the stop reasons so far."""
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
