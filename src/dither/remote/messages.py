"""The message format: msgpack, with arrays as dtype, shape and bytes."""

import math
import struct
import threading
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

MOST_BYTES = 8 * 2**20
"""The longest accepted message: a write of a million parameters.

Several copies of a message exist while it is read; this limits the memory a client can claim.
"""

MOST_PARAMETERS = 1_000_000
"""The parameters of a served device, at most."""

ENTRIES = 8
"""The entries of a flat message, at most."""

LONGEST_TEXT = 4096

ARRAY = 1
DTYPES = frozenset(f"<{kind}{size}" for kind in "iuf" for size in (2, 4, 8)) | {"|b1", "|i1", "|u1"}
HEAD = struct.Struct("<3sB")


class MessageError(ValueError):
    """The bytes are not a valid message."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes; its values are plain values and arrays."""
    packed: bytes = _kept.packer.pack(message)
    return packed


def unpack(data: bytes | bytearray, flat: bool = False) -> dict[str, Any]:
    """The message, its arrays writable copies.

    Arguments: the bytes; `flat`, whether tables and lists inside it are refused, as for strangers:
    a nested table needs a hundred times the memory of its transmitted bytes.
    Errors: `MessageError` for anything else.
    """
    limits: dict[str, Any] = {}
    if flat:
        limits = {"max_map_len": ENTRIES, "max_array_len": 0, "object_hook": _Once()}
        limits |= {"max_str_len": LONGEST_TEXT, "max_bin_len": LONGEST_TEXT}
    try:
        message = msgpack.unpackb(data, ext_hook=_extension, **limits)
    except Exception as error:
        raise MessageError(f"not a message: {type(error).__name__}") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise MessageError("not a message: it is not a table with names as keys")
    return message


class _Once:
    """Accepts one table, the message itself."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, table: dict[Any, Any]) -> dict[Any, Any]:
        if self.seen:
            raise MessageError("a table within a table")
        self.seen = True
        return table


def _array(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.str not in DTYPES:
        raise TypeError(f"{type(value).__name__} cannot be sent")
    head = HEAD.pack(value.dtype.str.encode(), value.ndim)
    shape = struct.pack(f"<{value.ndim}Q", *value.shape)
    return msgpack.ExtType(ARRAY, b"".join((head, shape, value.tobytes())))


def _extension(code: int, data: bytes) -> np.ndarray:
    name, axes = HEAD.unpack_from(data)
    dtype = name.decode("ascii")
    if code != ARRAY or dtype not in DTYPES or axes > 8:
        raise MessageError("no array")
    shape = struct.unpack_from(f"<{axes}Q", data, HEAD.size)
    begin = HEAD.size + 8 * axes
    if math.prod(shape) * np.dtype(dtype).itemsize != len(data) - begin:
        raise MessageError("an array of another size than its shape")
    return np.frombuffer(data, dtype, offset=begin).reshape(shape).copy()


class _Kept(threading.local):
    """A reusable packer per thread: allocating a new one takes ten times as long."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=_array)


_kept = _Kept()
