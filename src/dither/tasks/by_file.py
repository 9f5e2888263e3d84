"""A task's file, and a task that is named by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator

DataFile: TypeAlias = Annotated[
    Path, AfterValidator(lambda file: file.resolve() if file.is_file() else file)
]
"""A file that is found from any folder, where it is there."""

KINDS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".npz": "arrays"}
"""The kind of task that a file is, by its ending."""


def by_file(value: Any) -> Any:
    """A table with `file` where a specification gives `spectra.csv` as the kind of a task."""
    value = {"kind": value} if isinstance(value, str) else value
    if isinstance(value, Mapping):
        file = str(value.get("kind", ""))
        kind = KINDS.get(Path(file).suffix.lower())
        return value if kind is None else {"file": file, **value, "kind": kind}
    return value
