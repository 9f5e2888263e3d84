"""8×8 handwritten digits."""

from typing import Literal

import numpy as np

from dither.tasks.scores import CostName
from dither.tasks.task import AbstractSampledTask, BatchSize, Task


class Digits(AbstractSampledTask):
    """1 797 handwritten digits of 8×8 grey pixels in [0, 1]; every fifth is a test sample.

    Arguments: `batch`, 100 by default; `cost`, cross-entropy by default.
    Source: UCI optical recognition of handwritten digits, as packaged in scikit-learn.
    """

    kind: Literal["digits"] = "digits"
    batch: BatchSize = 100
    cost: CostName = "cross_entropy"

    def load(self) -> Task:
        from sklearn.datasets import load_digits

        data = load_digits()
        inputs, labels = data.data / 16.0, data.target
        test = np.arange(len(inputs)) % 5 == 4
        arrays = inputs[~test], labels[~test], inputs[test], labels[test]
        return self.task_of(*arrays, classes=tuple("0123456789"), image=(8, 8))
