"""NumPy's own files, told from others by how they begin."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

NPY, NPZ = b"\x93NUMPY", b"PK"
KINDS = {NPY: "an NPY file, of numpy.save", NPZ: "an NPZ file, of numpy.savez"}


def read_numpy(file: Path, kind: bytes, names: Iterable[str] = ()) -> Any:
    """The array in a file, or of an archive those of some names that it has.

    Errors: `ValueError`, the end of a sentence, for another kind of file, or no numbers.
    """
    with file.open("rb") as content:
        begin = content.read(len(NPY))
        if kind == NPZ and begin == NPY:
            raise ValueError(
                "it holds a single array without a name; in a task give targets too, the NPY file "
                "of the targets"
            )
        if not begin.startswith(kind):
            raise ValueError(
                f"it is not {KINDS[kind]}; load what other programs write, such as .mat, with "
                "theirs, and save it so"
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
            raise ValueError("it holds Python objects, and numbers are due") from None
