"""Reading and writing of whole files, with errors that name the obstacle."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from dither._errors import DitherError, RequestError, RunError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a full or failing disk, which are no fault of the request."""


def read_file(path: Path) -> bytes:
    """The content of a file. Errors: `RequestError` if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise refusal(path, error, "read") from None
    except ValueError:  # a null character in its name
        raise RequestError(f"{str(path)!r:.60} is not a valid file name.") from None


def check_permission(path: Path) -> None:
    """Check that a user's file can be accessed. Errors: `RequestError` if it cannot."""
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise refusal(path, error, "read") from None
    except OSError:  # the caller reports a missing file
        return


def is_file(path: Path) -> bool:
    """Whether a file exists. Errors: `RequestError` if that cannot be determined."""
    try:
        return path.is_file()
    except OSError as error:
        raise refusal(path, error, "read") from None


def files_in(folder: Path, ending: str) -> list[Path]:
    """The files of a folder with a given suffix, in order; none if the folder does not exist.

    Errors: `RequestError` if the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ending)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refusal(folder, error, "read") from None


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Errors: `RequestError` if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error, "made") from None


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace a file atomically: a reader sees the old or the new one; a full disk keeps the old.

    Arguments: the file, in an existing folder; its content; `durable`, whether to wait until the
    content is on the disk, so that the replacement also survives a power cut.
    Errors: `RequestError` if the file cannot be written, `RunError` if the disk is full.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise refusal(path, error, "written") from None


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refusal(path: Path, error: OSError, done: str) -> DitherError:
    """The error for a file that cannot be read, written or made.

    Arguments: the file; the cause; the participle of the action, such as `written`.
    Returns: a `RequestError`, or a `RunError` for a full or failing disk.
    """
    if isinstance(error, FileNotFoundError) and done == "read":
        return RequestError(f"The file {path} does not exist.")
    if isinstance(error, PermissionError):
        return RequestError(f"{path} cannot be {done}: no permission{_lacking(path, done)}.")
    kept = "; the earlier content is kept" if done == "written" else ""
    kind = RunError if error.errno in NO_ROOM else RequestError
    return kind(f"{path} cannot be {done}: {error.strerror or error}{kept}.")


def _lacking(path: Path, done: str) -> str:
    """The folder or file that denies access, with its mode and owner."""
    way = [place for place in reversed(path.absolute().parents) if _there(place)]
    closed = [place for place in way if not os.access(place, os.X_OK)]
    if closed:
        place = closed[0]
    else:
        place = path if done == "read" or os.access(way[-1], os.W_OK) else way[-1]
    try:
        found = place.stat()
    except OSError:
        return f" for {place}"
    try:
        owner = place.owner()
    except (KeyError, NotImplementedError):  # no such user, or Windows
        owner = f"user {found.st_uid}"
    mode = stat.filemode(found.st_mode)
    return f" ({place} is {mode} and belongs to {owner}, who can change it with chmod)"


def _there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # an earlier folder denies access and is reported
        return False
