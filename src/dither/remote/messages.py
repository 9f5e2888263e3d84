"""What goes over the wire: msgpack, with arrays as dtype, shape and bytes."""

import math
import threading
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

MOST_BYTES = 32 * 2**20
"""The longest message that either side takes."""

ARRAY = 1
DTYPES = frozenset(f"<{kind}{size}" for kind in "iuf" for size in (2, 4, 8)) | {"|b1", "|i1", "|u1"}


class MessageError(ValueError):
    """Bytes that are no message."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes; its values are plain ones and arrays."""
    packed: bytes = _packers.of_messages.pack(message)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The message, its arrays writable copies. Errors: `MessageError` for anything else."""
    try:
        message = msgpack.unpackb(data, ext_hook=_extension)
    except Exception as error:
        raise MessageError(f"no message: {type(error).__name__}") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise MessageError("no message: not a table of names")
    return message


def _array(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.str not in DTYPES:
        raise TypeError(f"{type(value).__name__} cannot be sent")
    return msgpack.ExtType(
        ARRAY, _packers.of_arrays.pack((value.dtype.str, value.shape, value.tobytes()))
    )


def _extension(code: int, data: bytes) -> np.ndarray:
    dtype, shape, content = msgpack.unpackb(data)
    if code != ARRAY or dtype not in DTYPES or len(shape) > 8 or any(n < 0 for n in shape):
        raise MessageError("no array")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(content):
        raise MessageError("an array of another size than its shape")
    return np.frombuffer(content, dtype).reshape(shape).copy()


class _Packers(threading.local):
    """A thread's packers, kept: a new one asks the system for its buffer, ten times the work."""

    def __init__(self) -> None:
        self.of_messages = msgpack.Packer(default=_array)
        self.of_arrays = msgpack.Packer()


_packers = _Packers()
