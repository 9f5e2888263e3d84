"""The errors that dither raises on purpose; each message is one sentence for the user."""

import difflib
from collections.abc import Iterable


class DitherError(Exception):
    """The base class of the errors that dither raises; the message is one sentence.

    Source: the project's rule for errors (what is wrong, where, what to do).
    """


class RequestError(DitherError):
    """The request was wrong (a key, a type, a file, a shape); the shell exits with status 2."""


class SettingsError(RequestError, ValueError):
    """A configuration has an invalid setting."""


class RunError(DitherError):
    """The request was right and the run failed (the device stopped answering); status 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known names that are closest to an unknown one."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"the known names are {', '.join(names)}."
