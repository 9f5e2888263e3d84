"""A generator for gest-api, the common interface of libEnsemble and Xopt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Parameter, Probe, Space
from dither.instruments.extras import needs
from dither.interop.by_cost import ByCost

needs("gest_api", "gest")
from gest_api.generator import Generator  # noqa: E402  # after what says what to install
from gest_api.vocs import (  # noqa: E402  # likewise
    ContinuousVariable,
    MaximizeObjective,
    MinimizeObjective,
)


class DitherGenerator(Generator):
    """Suggests settings to measure and learns from the returned objective.

    The parameters are the continuous variables, between their domains; the cost is the objective,
    or minus the objective if it is maximised. Each suggestion has an `_id`. Results may be ingested
    in any order; they are used in the order of the suggestions. A suggestion with result NaN is
    suggested again. Results of other points are ignored, because the algorithms learn from pairs of
    measurements that they have chosen.

    Arguments: `vocs`, the variables and the objective; `algorithm`, any that uses only the cost;
    `initial`, initial values by name, by default a variable's default or the middle of its domain;
    `seed`.
    Errors: `ValueError` for unsupported variables or objectives, for an unknown `_id`, and for more
    points than can be measured before the first result; `RequestError` for an algorithm that needs
    more than the cost.
    """

    returns_id = True

    def __init__(
        self,
        vocs: Any,
        algorithm: AbstractAlgorithm,
        *,
        initial: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(vocs)
        self.vocs = vocs
        domains = {name: variable.domain for name, variable in vocs.variables.items()}
        self.low, self.high = np.array(list(domains.values()), float).T
        self.objective, kind = next(iter(vocs.objectives.items()))
        self.sign = -1.0 if isinstance(kind, MaximizeObjective) else 1.0
        self.constants = {name: constant.value for name, constant in vocs.constants.items()}
        space = Space(
            tuple(Parameter(name, (), low, high) for name, (low, high) in domains.items())
        )
        self.trainer = ByCost(algorithm, space, self._start(initial or {}), seed)
        self._waiting: dict[int, Probe] = {}
        self._costs: dict[int, float] = {}
        self._again: list[int] = []
        self._next = 0

    def _validate_vocs(self, vocs: Any) -> None:
        name = type(self).__name__
        if len(vocs.objectives) != 1:
            raise ValueError(f"{name} supports one objective, not {len(vocs.objectives)}")
        if vocs.constraints:
            raise ValueError(f"{name} does not support constraints")
        for objective in vocs.objectives.values():
            if not isinstance(objective, MinimizeObjective | MaximizeObjective):
                raise ValueError(f"{name} supports only minimising or maximising")
        for variable, kind in vocs.variables.items():
            if type(kind) is not ContinuousVariable or isinstance(kind.dtype, tuple):
                raise ValueError(
                    f"{name} needs continuous variables, but {variable} is not continuous"
                )

    def _start(self, initial: Mapping[str, float]) -> np.ndarray:
        for name in initial:
            if name not in self.vocs.variables:
                raise RequestError(
                    f"The initial values name an unknown variable '{name}'; remove it."
                )
        middle = dict(zip(self.vocs.variables, 0.5 * (self.low + self.high)))
        defaults = {
            name: variable.default_value
            for name, variable in self.vocs.variables.items()
            if variable.default_value is not None
        }
        return np.array(list({**middle, **defaults, **initial}.values()))

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """The next points to measure: the requested number, or as many as possible."""
        first = next(iter(self._waiting.values()), None)
        fresh = self.trainer.lookahead(first) - len(self._waiting)
        most = len(self._again) + fresh
        wanted = most if num_points is None else num_points
        if wanted > most:
            raise ValueError(
                f"{wanted} points were requested, but only {most} can be measured before "
                "others are "
                "ingested; request fewer, or set a larger tau_theta"
            )
        chosen, self._again = self._again[:wanted], self._again[wanted:]
        while len(chosen) < wanted:
            self._waiting[self._next] = self.trainer.ask()
            chosen.append(self._next)
            self._next += 1
        return [self._point(number) for number in chosen]

    def _point(self, number: int) -> dict[str, Any]:
        return {**self._named(self._waiting[number].theta), **self.constants, "_id": number}

    def _named(self, theta: Any) -> dict[str, float]:
        # single precision may round a bound outwards
        inside = np.clip(np.asarray(theta, float), self.low, self.high)
        return dict(zip(self.vocs.variables, inside.tolist()))

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Learn from results, after all earlier suggestions have theirs."""
        for result in results:
            if "_id" not in result:
                continue
            number = int(result["_id"])
            if number not in self._waiting or number in self._costs or number in self._again:
                raise ValueError(f"no result is pending for _id {number}")
            cost = self.sign * float(result[self.objective])
            if math.isfinite(cost):
                self._costs[number] = cost
            else:
                self._again.append(number)
        while self._waiting and (number := next(iter(self._waiting))) in self._costs:
            self.trainer.tell(self._waiting.pop(number), self._costs.pop(number))

    def reached(self) -> dict[str, float]:
        """The present trained values of the variables."""
        return self._named(self.trainer.parameters())
