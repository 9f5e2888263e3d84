"""A task from arrays in NumPy files."""

import zlib
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from dither._errors import RequestError
from dither.tasks.by_file import DataFile
from dither.tasks.numpy_file import NPY, NPZ, read_numpy
from dither.tasks.task import AbstractSampledTask, Task

NAMES = ("inputs", "targets", "test_inputs", "test_targets")


class Arrays(AbstractSampledTask):
    """The arrays `inputs`, `targets` and, if there, `test_inputs`, `test_targets` of an NPZ file.

    Integer targets are class labels, text targets are class names, others are regression values.
    Without test arrays, a stratified share of the samples is set aside.

    Arguments: `file`, the NPZ file, or an NPY file of the inputs; then `targets` is the NPY file of
    the targets; `test_share` of the samples without test arrays, in (0, 1); `seed` of that draw;
    `batch`; `cost`. For arrays in memory use `make_task`.
    Errors: `RequestError` for a missing file or array, NaN, labels outside the classes.
    """

    kind: Literal["arrays"] = "arrays"
    file: DataFile
    targets: DataFile | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Task:
        data = self._read()
        for name in NAMES[:2]:
            if name not in data:
                raise RequestError(f"The task's file {self.file} has no array '{name}'.")
            if data[name].ndim == 0:
                raise RequestError(
                    f"The array '{name}' of {self.file} is a single number; give one row per "
                    "sample."
                )
        missing = [name for name in NAMES[2:] if name not in data]
        if len(missing) == 1:
            raise RequestError(
                f"The task's file {self.file} has no array '{missing[0]}'; give both test arrays "
                "or neither."
            )
        parts = [data.get(name) for name in NAMES]
        return self.task_of(*parts, test_share=self.test_share, seed=self.seed)

    def _read(self) -> dict[str, np.ndarray]:
        if self.targets is not None:
            return {"inputs": _read(self.file, NPY), "targets": _read(self.targets, NPY)}
        data: dict[str, np.ndarray] = _read(self.file, NPZ)
        return data


def _read(file: Path, kind: bytes) -> Any:
    try:
        return read_numpy(file, kind, NAMES)
    except FileNotFoundError:
        raise RequestError(f"The task's file {file} does not exist.") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        name = "NPY" if kind == NPY else "NPZ"
        raise RequestError(
            f"The task's file {file} is not a valid {name} file ({error})."
        ) from None
