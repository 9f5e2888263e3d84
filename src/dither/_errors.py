"""The errors that dither raises on purpose: each is one sentence for the person who can mend it."""

import difflib
from collections.abc import Iterable


class DitherError(Exception):
    """Anything that dither refuses or gives up, said in one sentence.

    Source: the project's rule for errors (what is wrong, where, what to do).
    """


class RequestError(DitherError):
    """The request was wrong (a key, a type, a file, a shape); the shell exits with status 2."""


class SettingsError(RequestError, ValueError):
    """A setting of a configuration that cannot be."""


class RunError(DitherError):
    """The request was right and the run failed (the device stopped answering); status 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence that offers the known names nearest to a wrong one."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known are {', '.join(names)}."
