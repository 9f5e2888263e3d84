"""Tasks selected by a file name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator

DataFile: TypeAlias = Annotated[
    Path, AfterValidator(lambda file: file.resolve() if file.is_file() else file)
]
"""An existing file with an absolute path."""

KINDS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".npz": "arrays"}
"""The kind of task by file suffix."""


def by_file(value: Any) -> Any:
    """The table with `file` for a shorthand such as `spectra.csv`."""
    value = {"kind": value} if isinstance(value, str) else value
    if isinstance(value, Mapping):
        file = str(value.get("kind", ""))
        kind = KINDS.get(Path(file).suffix.lower())
        return value if kind is None else {"file": file, **value, "kind": kind}
    return value
