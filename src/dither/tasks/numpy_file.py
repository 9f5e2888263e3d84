"""NumPy's files, recognised by their first bytes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dither._files import check_permission

NPY, NPZ = b"\x93NUMPY", b"PK"
KINDS = {NPY: "an NPY file, of numpy.save", NPZ: "an NPZ file, of numpy.savez"}


def read_numpy(file: Path, kind: bytes, names: Iterable[str] = ()) -> Any:
    """The array in an NPY file, or the arrays with given names in an NPZ archive.

    Errors: `ValueError`, the end of a sentence, for another kind of file, or values other than
    numbers.
    """
    check_permission(file)
    with file.open("rb") as content:
        begin = content.read(len(NPY))
        if kind == NPZ and begin == NPY:
            raise ValueError(
                "it holds a single array without a name; in a task also give targets, the NPY file "
                "of the targets"
            )
        if not begin.startswith(kind):
            raise ValueError(
                f"it is not {KINDS[kind]}; load files of other programs, such as .mat, with "
                "their own reader and save them in this format"
            )
        content.seek(0)
        try:
            loaded = np.load(content, allow_pickle=False)
            if kind == NPY:
                return loaded
            return {name: loaded[name] for name in names if name in loaded}
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise ValueError("it holds Python objects instead of numbers") from None
