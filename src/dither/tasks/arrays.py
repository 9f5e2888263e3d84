"""A task from the user's own arrays."""

import zlib
from pathlib import Path
from typing import Annotated, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from dither._errors import RequestError
from dither.tasks.numpy_file import NPZ, read_numpy
from dither.tasks.task import AbstractSampledTask, Task, check_lengths

NAMES = ("inputs", "targets", "test_inputs", "test_targets")


class Arrays(AbstractSampledTask):
    """The arrays `inputs`, `targets` and, if there, `test_inputs`, `test_targets` of an NPZ file.

    Integer targets are class labels, others are values to reach. Without test arrays a share of
    the samples is set aside.

    Arguments: `file`, the NPZ file; `test_share` of the samples where it has no test arrays, in
    (0, 1); `seed` of that draw; `batch`; `cost`. For arrays in memory call `make_task`.
    Errors: `RequestError` for a missing file or array, NaN, labels outside the classes.
    """

    kind: Literal["arrays"] = "arrays"
    file: Path
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Task:
        try:
            data = read_numpy(self.file, NPZ, NAMES)
        except FileNotFoundError:
            raise RequestError(f"The task's file {self.file} does not exist.") from None
        except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
            raise RequestError(f"The task's file {self.file} is no NPZ file ({error}).") from None
        for name in NAMES[:2]:
            if name not in data:
                raise RequestError(f"The task's file {self.file} has no array '{name}'.")
            if data[name].ndim == 0:
                raise RequestError(f"The array '{name}' of {self.file} is one number, no samples.")
        missing = [name for name in NAMES[2:] if name not in data]
        if len(missing) == 1:
            raise RequestError(
                f"The task's file {self.file} has no array '{missing[0]}'; give both test arrays "
                "or neither."
            )
        if missing:
            check_lengths(data["inputs"], data["targets"], "inputs", "targets")
            data = self._set_aside(data)
        return self.task_of(*(data[name] for name in NAMES))

    def _set_aside(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        order = np.random.default_rng(self.seed).permutation(len(data["inputs"]))
        tests = max(1, round(self.test_share * len(order)))
        test, train = order[:tests], order[tests:]
        x, t = data["inputs"], data["targets"]
        return dict(zip(NAMES, (x[train], t[train], x[test], t[test])))
