"""A task from a table in a text file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Num
from pydantic import BeforeValidator, Field, field_validator

from dither._errors import RequestError, nearest
from dither.tasks.by_file import DataFile
from dither.tasks.delimited import Table, numbers, read_delimited, title
from dither.tasks.given import as_array
from dither.tasks.samples import numbers_of
from dither.tasks.set_aside import set_aside
from dither.tasks.task import AbstractSampledTask, Task

if TYPE_CHECKING:
    import pandas as pd


def _column(given: Any) -> Any:
    if isinstance(given, str) or (type(given) is int and given >= 0):
        return given
    raise ValueError("give a column's name, or its number from 0")


Column: TypeAlias = Annotated[str | int, BeforeValidator(_column)]
"""A column: its name, or its number from 0."""


class CSVFile(AbstractSampledTask):
    """A table in a text file, with one row per sample, one column per input, and a label column.

    Columns are separated by commas, semicolons (numbers may then have decimal commas) or tabs. A
    label that is text or a whole number is the name of a class; a label with a decimal point is a
    regression value. An unnamed first column that counts the rows, as written by pandas, is
    ignored.

    Arguments: `file`; `label`, the name of the label column or its number from 0, by default the
    last; `inputs`, the input columns, by default all others; `header`, whether the first row names
    the columns, detected if not given; `values`, whether whole numbers are regression values
    instead of classes; `scale` of each input, computed from the training samples: `minmax`, to 0 …
    1, to which other samples are clipped, or `standard`, to mean 0 and standard deviation 1, or
    none; `test_file`, with the test samples, or else a stratified `test_share` of the samples, in
    (0, 1), and the `seed` of that draw; `batch`; `cost`.
    Errors: `RequestError` for a missing or unreadable file, a missing column, or an input that is
    not a number.
    """

    kind: Literal["csv"] = "csv"
    file: DataFile
    label: Column | None = None
    inputs: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None
    header: bool | None = None
    values: bool = False
    scale: Literal["minmax", "standard"] | None = None
    test_file: DataFile | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("inputs")
    @classmethod
    def _each_once(cls, inputs: tuple[Column, ...] | None) -> tuple[Column, ...] | None:
        if inputs and len(set(inputs)) < len(inputs):
            raise ValueError("name each column once")
        return inputs

    def load(self) -> Task:
        table = read_delimited(self.file, self.header)
        names = [table.frame.columns[place] for place in self._input_places(table)]
        x, labels = self._inputs(self.file, table), self._labels(self.file, table)
        if self.test_file is None:
            t, classes = self._targets([labels])
            train, test = set_aside(t[0], self.test_share, self.seed)
            parts = [x[train], t[0][train], x[test], t[0][test]]
        else:
            other = read_delimited(self.test_file, self.header)
            x2 = numbers(self.test_file, other, self._same_places(self.test_file, other, table))
            t, classes = self._targets([labels, self._labels(self.test_file, other)])
            parts = [x, t[0], as_array(x2, "test inputs"), t[1]]
        parts[0], parts[2] = self._scaled(parts[0], parts[0]), self._scaled(parts[0], parts[2])
        columns = tuple(map(str, names)) if table.named else ()
        return self.task_of(*parts, classes=classes, columns=columns)

    def inputs_of(self, file: str | Path) -> Float[np.ndarray, "N K"]:
        """The inputs of another file with this task's columns and scale.

        Columns are matched by name; without names the file must hold only inputs and label.
        Errors: those of `load`.
        """
        file = Path(file)
        table, other = read_delimited(self.file, self.header), read_delimited(file)
        x = self._inputs(self.file, table)
        if self.test_file is None:
            t, _ = self._targets([self._labels(self.file, table)])
            x = x[set_aside(t[0], self.test_share, self.seed)[0]]
        return self._scaled(x, numbers(file, other, self._same_places(file, other, table)))

    def _inputs(self, file: Path, table: Table) -> Num[np.ndarray, "N K"]:
        return as_array(numbers(file, table, self._input_places(table)), "inputs")

    def _input_places(self, table: Table) -> list[int]:
        if table.frame.shape[1] < 2:
            raise RequestError(
                f"The table {self.file} has one column; separate inputs and label by commas, "
                "semicolons "
                "or tabs."
            )
        label = self._label_place(table)
        if self.inputs is None:
            places = [place for place in range(table.frame.shape[1]) if place != label]
            return places[1:] if places[0] == 0 and _counts_rows(table) else places
        places = [self._place(table, column) for column in self.inputs]
        if label in places:
            column = title(table, label)
            raise RequestError(
                f"The column {column} of {self.file} is both an input and the label; set label."
            )
        return places

    def _label_place(self, table: Table) -> int:
        return table.frame.shape[1] - 1 if self.label is None else self._place(table, self.label)

    def _place(self, table: Table, column: Column) -> int:
        width = table.frame.shape[1]
        if isinstance(column, int):
            if column < width:
                return column
            raise RequestError(
                f"The table {self.file} has {width} columns, 0 to {width - 1}, but no column "
                f"{column}."
            )
        names = [str(name) for name in table.frame.columns] if table.named else []
        if column in names:
            return names.index(column)
        if not names:
            raise RequestError(
                f"The table {self.file} does not name its columns, so '{column}' is unknown; "
                f"give a number from 0 to {width - 1}, or header = true."
            )
        raise RequestError(
            f"The table {self.file} has no column '{column}'; {nearest(column, names)}"
        )

    def _same_places(self, file: Path, other: Table, table: Table) -> list[int]:
        """The positions of this task's inputs in another table."""
        places = self._input_places(table)
        if table.named and other.named:
            names = list(other.frame.columns)
            missing = [n for n in table.frame.columns[places] if n not in names]
            if missing:
                raise RequestError(
                    f"The table {file} has no column '{missing[0]}', which is an input in "
                    f"{self.file}; {nearest(missing[0], names)}"
                )
            return [names.index(name) for name in table.frame.columns[places]]
        width = other.frame.shape[1]
        if width == table.frame.shape[1]:
            return places
        if width == len(places):
            return list(range(width))
        raise RequestError(
            f"The table {file} has {width} columns, but {self.file} has {len(places)} inputs; give "
            "equally many, or name the columns."
        )

    def _labels(self, file: Path, table: Table) -> "pd.Series":
        from pandas.api.types import is_numeric_dtype

        labels = table.frame.iloc[:, self._label_place(table)]
        if is_numeric_dtype(labels):
            return labels
        labels = labels.astype(str).str.strip()
        if (labels == "").any():
            line = table.first + int(np.argmax(labels == ""))
            raise RequestError(f"The table {file} has no label in line {line}; give one.")
        return labels

    def _targets(
        self,
        parts: "list[pd.Series]",
    ) -> tuple[list[Num[np.ndarray, "N ..."]], tuple[str, ...]]:
        """The targets of training and test samples, and the names of the classes."""
        import pandas as pd

        column = pd.concat(parts, ignore_index=True)
        if self.values or pd.api.types.is_float_dtype(column):
            if not pd.api.types.is_numeric_dtype(column):
                raise RequestError(
                    f"The labels of {self.file} are text, such as '{column.iloc[0]}', but values "
                    "were requested; leave out values, or set label."
                )
            return [as_array(part.to_numpy(float)[:, None], "targets") for part in parts], ()
        found = sorted(column.unique())
        if len(found) > max(2, len(column) // 2):
            raise RequestError(
                f"The labels of {self.file} have {len(found)} different values in {len(column)} "
                "samples, such as "
                f"{found[0]} and {found[-1]}; set label to the column of the classes, or values = "
                "true if the whole numbers are regression values."
            )
        if len(found) == 1:
            raise RequestError(
                f"The labels of {self.file} are all {found[0]}; set label to the column of the "
                "classes."
            )
        classes = tuple(map(str, found))
        return [numbers_of([str(label) for label in part], classes) for part in parts], classes

    def _scaled(
        self, train: Num[np.ndarray, "N K"], x: Num[np.ndarray, "M K"]
    ) -> Float[np.ndarray, "M K"]:
        from sklearn.preprocessing import MinMaxScaler, StandardScaler

        if self.scale is None:
            return x.astype(float)
        scaler = MinMaxScaler(clip=True) if self.scale == "minmax" else StandardScaler()
        return np.asarray(scaler.fit(train).transform(x))


def _counts_rows(table: Table) -> bool:
    """Whether the first column has no name and counts the rows, as written by pandas."""
    from pandas.api.types import is_integer_dtype

    column = table.frame.iloc[:, 0]
    nameless = table.named and table.frame.columns[0] == ""
    if not nameless or not is_integer_dtype(column):
        return False
    return bool((np.diff(column.to_numpy()) == 1).all())
