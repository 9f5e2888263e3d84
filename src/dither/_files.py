"""Files: each is read and written as a whole, here, where what stands in the way is said."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from dither._errors import DitherError, RequestError, RunError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a disk says that takes no more: no fault of the request."""


def read_file(path: Path) -> bytes:
    """The content of a file. Errors: `RequestError` where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise refusal(path, error, "read") from None
    except ValueError:  # a null in its name
        raise RequestError(f"No file has a name like {str(path)!r:.60}.") from None


def check_permission(path: Path) -> None:
    """Check that a user's file is not closed. Errors: `RequestError` where it is."""
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise refusal(path, error, "read") from None
    except OSError:  # what is missing is told by those who look for it
        return


def is_file(path: Path) -> bool:
    """Whether a file is there. Errors: `RequestError` where that cannot be told."""
    try:
        return path.is_file()
    except OSError as error:
        raise refusal(path, error, "read") from None


def files_in(folder: Path, ending: str) -> list[Path]:
    """The files of a folder that have an ending, in order; none where there is no folder.

    Errors: `RequestError` where it cannot be looked into.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ending)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refusal(folder, error, "read") from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Errors: `RequestError` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error, "made") from None


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace a file as a whole: a reader sees the old or the new, and a full disk leaves the old.

    Arguments: the file, in a folder that is there; its content; `durable`, whether to wait until
    the disk has it, so that a power cut leaves one or the other too.
    Errors: `RequestError` where the file cannot be written, `RunError` where the disk is full.
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
    """What a program's files are not to allow; there is no way to ask but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refusal(path: Path, error: OSError, done: str) -> DitherError:
    """The error for a file that cannot be read, written or made.

    Arguments: the file; why not; what was to be `done` with it.
    Returns: a `RequestError`, or a `RunError` for a disk that takes no more.
    """
    if isinstance(error, FileNotFoundError) and done == "read":
        return RequestError(f"The file {path} does not exist.")
    if isinstance(error, PermissionError):
        return RequestError(f"{path} cannot be {done}: no permission{_lacking(path, done)}.")
    kept = "; what was there before is kept" if done == "written" else ""
    kind = RunError if error.errno in NO_ROOM else RequestError
    return kind(f"{path} cannot be {done}: {error.strerror or error}{kept}.")


def _lacking(path: Path, done: str) -> str:
    """Which place on the way to a file keeps one out: its mode and its owner."""
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
    return f" ({place} is {mode} and belongs to {owner}, who can change that by chmod)"


def _there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a folder before it is closed, and told of
        return False
