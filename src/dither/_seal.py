"""Seals: a file that dither writes contains a digest of its own content.

A seal is `sha256-` and 64 hexadecimal digits: the digest of the file's content with zeros in place
of the digits. A change of any single bit is detected.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from dither._errors import RequestError
from dither._files import read_file

NAME = b"sha256-"
OPEN = (NAME + b"0" * 64).decode()
"""A seal that is not yet set."""

SEAL = re.compile(NAME + rb"[0-9a-f]{64}")

KEY = "seal"
"""The key under which a JSON or a Parquet file holds its seal."""

SAID = "# Written by dither ({}); remove this line if you change the file by hand.\n"
"""The first line of a TOML file."""


class DamagedFileError(RequestError):
    """A file that differs from what dither wrote."""


def sealed(content: bytes) -> bytes:
    """The content with its last open seal set."""
    before, _, after = content.rpartition(OPEN.encode())
    return before + NAME + hashlib.sha256(content).hexdigest().encode() + after


def is_whole(content: bytes) -> bool:
    """Whether one of the seals in the content matches it."""
    for seal in SEAL.finditer(content):
        open_again = content[: seal.start()] + OPEN.encode() + content[seal.end() :]
        if NAME + hashlib.sha256(open_again).hexdigest().encode() == seal[0]:
            return True
    return False


def read_sealed(path: Path) -> bytes:
    """The content of a sealed file that is unchanged.

    Errors: `RequestError` if it is missing or cannot be read; `DamagedFileError` if it was changed,
    truncated, or written by another version of dither.
    """
    content = read_file(path)
    if not is_whole(content):
        raise DamagedFileError(
            f"{path} has changed since it was written (it is damaged, was edited, or comes from "
            "another version of dither); set it aside and run again."
        )
    return content


def sealed_json(table: dict[str, Any], indent: int | None = None) -> bytes:
    """A table as JSON, sealed."""
    return sealed(json.dumps({**table, KEY: OPEN}, indent=indent).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The table in a file of `sealed_json`. Errors: those of `read_sealed`."""
    try:
        table: dict[str, Any] = json.loads(read_sealed(path))
        del table[KEY]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise DamagedFileError(
            f"{path} does not hold a table that dither wrote; set it aside and run again."
        ) from None
    return table


def sealed_toml(text: str) -> bytes:
    """A TOML text, sealed in its first line."""
    return sealed((SAID.format(OPEN) + text).encode())


def without_seal(text: str) -> str:
    """A TOML text without the line that seals it."""
    first, _, rest = text.partition("\n")
    return rest if SEAL.search(first.encode()) else text


def check_toml(path: Path, content: bytes) -> None:
    """Check a TOML file that has a seal.

    Errors: `DamagedFileError` if it has changed since it was written.
    """
    if SEAL.search(content.partition(b"\n")[0]) and not is_whole(content):
        raise DamagedFileError(
            f"{path} has changed since dither wrote it; if that was intended, remove its "
            "first line."
        )
