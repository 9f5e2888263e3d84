"""A series from a file."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither._errors import RequestError
from dither._files import check_permission
from dither._numbers import decimal_commas, real
from dither.tasks.by_file import DataFile
from dither.tasks.numpy_file import NPY, read_numpy
from dither.tasks.scores import nmse
from dither.tasks.series import AbstractSeries, Series, make_series


class SeriesFile(AbstractSeries):
    """Prediction of a series in a file, such as the Santa Fe laser: t(n) = x(n + steps).

    A `.npy` file holds an array of T or T × columns values; any other file is text with one row per
    step, columns separated by commas (`.csv`) or spaces, and comment lines that begin with #. The
    first values are used, as many as the parts need.

    Arguments: `file`; its `column`, from 0; `steps` ahead to predict.
    Errors: `RequestError` for a missing or unreadable file, a missing column, too few values.
    """

    kind: Literal["series-file"] = "series-file"
    file: DataFile
    column: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=1)] = 1

    def load(self) -> Series:
        x = self._read()
        needed = self.length + self.steps
        if len(x) < needed:
            raise RequestError(
                f"The series in {self.file} has {len(x)} values, but wash-out, training and test "
                f"part with {self.steps} steps ahead need {needed}; shorten the parts."
            )
        return make_series(x[: self.length], x[self.steps : needed], self, nmse, "NMSE")

    def _read(self) -> Float[np.ndarray, " T"]:
        try:
            table = self._numbers() if self.file.suffix == ".npy" else self._table()
        except FileNotFoundError:
            raise RequestError(f"The series' file {self.file} does not exist.") from None
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise RequestError(f"The series' file {self.file} is unreadable ({error}).") from None
        if table.ndim == 1:
            table = table[:, None]
        if table.ndim != 2 or self.column >= table.shape[1]:
            raise RequestError(
                f"The series' file {self.file} has shape {table.shape} but no column {self.column}."
            )
        return table[:, self.column]

    def _numbers(self) -> Float[np.ndarray, "..."]:
        try:
            return real(read_numpy(self.file, NPY))
        except ValueError as error:
            raise ValueError(f"it holds {error}") from None

    def _table(self) -> Float[np.ndarray, "T _"]:
        # "utf-8-sig": some programs begin a file with a byte order mark
        check_permission(self.file)
        lines = self.file.read_text(encoding="utf-8-sig").splitlines()
        comma = "," if self.file.suffix == ".csv" else None
        rows = [row for line in lines if (row := line.partition("#")[0].strip())]
        if comma and decimal_commas(rows):
            raise ValueError(
                f"the first row is '{rows[0][:80]}', whose commas are read as decimal commas; "
                "use decimal points, such as 2.0 if there are two columns"
            )
        return np.loadtxt(lines, delimiter=comma, ndmin=2)
