"""Recall of a symbol after a noisy delay."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dither.tasks.scores import CostName
from dither.tasks.task import AbstractSampledTask, BatchSize, Task


class DelayedRecall(AbstractSampledTask):
    """Recall the symbol at the first step of a series; the other steps are noise.

    `u_t = [t = 0] onehot(symbol) + noise n_t`, n ~ N(0, 1) in every feature: T steps, with as many
    features as symbols; the class is the symbol. More steps lengthen the delay but do not increase
    the information to remember.

    Arguments: `steps`, T ≥ 1; `symbols` ≥ 2; `noise` ≥ 0; `samples` for training and `tests`;
    `seed` of their draw; `batch`, 32 by default; `cost`, cross-entropy by default.
    Source: our own, modelled on common tests of long memory.
    """

    kind: Literal["delayed-recall"] = "delayed-recall"
    batch: BatchSize = 32
    cost: CostName = "cross_entropy"
    steps: Annotated[int, Field(ge=1)] = 8
    symbols: Annotated[int, Field(ge=2)] = 4
    noise: Annotated[float, Field(ge=0)] = 0.1
    samples: Annotated[int, Field(ge=1, le=10**7)] = 2000
    tests: Annotated[int, Field(ge=1, le=10**7)] = 500
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Task:
        rng = np.random.default_rng(self.seed)
        number = self.samples + self.tests
        labels = rng.integers(self.symbols, size=number)
        series = self.noise * rng.standard_normal((number, self.steps, self.symbols))
        series[np.arange(number), 0, labels] += 1
        train, test = np.split(np.arange(number), [self.samples])
        arrays = series[train], labels[train], series[test], labels[test]
        return self.task_of(*arrays, classes=tuple(map(str, range(self.symbols))))
