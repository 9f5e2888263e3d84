"""Where in a user's own code an exception was raised."""

import traceback
from pathlib import Path

OURS = str(Path(__file__).parent)
INSTALLED = ("site-packages", "dist-packages", str(Path(traceback.__file__).parent), "<")
"""Parts of paths that mark files other than the user's."""


def told(error: BaseException) -> str:
    """An exception with the user's file and line: KeyError: 'wavelength' in lab.py, line 15."""
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")
    return f"{what}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """The innermost line of the user's code in a traceback, ` in FILE, line N`, or ``."""
    frames = traceback.extract_tb(error.__traceback__)
    # dither's own errors are complete sentences
    if not frames or frames[-1].filename.startswith(OURS):
        return ""
    others = [frame for frame in frames if not frame.filename.startswith(OURS)]
    last = ([frame for frame in others if not _installed(frame.filename)] or others)[-1]
    return f" in {shown(last.filename)}, line {last.lineno}"


def _installed(file: str) -> bool:
    return file.startswith(INSTALLED[-1]) or any(part in file for part in INSTALLED[:-1])


def shown(file: str) -> str:
    """A file's path, relative to the current folder if the file lies in it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def whole(error: BaseException) -> str:
    """The whole traceback."""
    return "".join(traceback.format_exception(error))
