"""Fingerprints: short names for data, functions and settings, the same in every process."""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import jax
import numpy as np

from dither._configuration import Configuration
from dither._files import read_file


def fingerprint(*values: Any) -> str:
    """A short name for what values are.

    Of an array it covers type, shape and content; of a file its content; of a function what it
    does, with its defaults, what it has closed over, and the plain global values that it names.
    """
    content = hashlib.sha256()
    for piece in _pieces(values):
        content.update(piece + b"\0")
    return content.hexdigest()[:16]


def _pieces(value: Any, within: tuple[int, ...] = ()) -> Iterator[bytes]:
    """What makes a value, piece by piece; `within` are the objects that it is a part of."""
    yield type(value).__name__.encode()
    if id(value) in within:
        return
    parts = _parts(value)
    if isinstance(parts, bytes):
        yield parts
        return
    for part in parts:
        yield from _pieces(part, (*within, id(value)))


def _parts(value: Any) -> bytes | tuple[Any, ...]:
    """A value as bytes, or the values that it is made of."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} ".encode() + array.tobytes()
    if isinstance(value, Path):
        return hashlib.sha256(read_file(value)).digest() if value.is_file() else bytes(value)
    if isinstance(value, Mapping):
        return tuple((key, value[key]) for key in sorted(value, key=repr))
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(repr, value)))
    if isinstance(value, CodeType):
        return (value.co_code, value.co_names, value.co_consts)
    if isinstance(value, Configuration):
        return tuple((name, getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, type) or inspect.ismodule(value):
        return value.__name__.encode()
    if callable(value):
        return _of_callable(value)
    if dataclasses.is_dataclass(value):
        return tuple((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    # without a text of its own an object shows only where in memory it is
    text = repr(value)
    return b"" if hex(id(value)) in text else text.encode()


def _of_callable(value: Any) -> bytes | tuple[Any, ...]:
    function = inspect.unwrap(value)
    if isinstance(function, functools.partial):
        return (function.func, function.args, function.keywords)
    if isinstance(function, MethodType):
        return (function.__func__, vars(function.__self__))
    if isinstance(function, FunctionType):
        code = function.__code__
        named = {name: function.__globals__.get(name) for name in code.co_names}
        known = {name: one for name, one in named.items() if _plain(one)}
        closed = inspect.getclosurevars(function).nonlocals
        return (code, function.__defaults__, function.__kwdefaults__, closed, known)
    call = getattr(type(function).__call__, "__code__", None)
    if call is None:  # compiled, such as a function of NumPy
        return str(getattr(function, "__name__", type(function).__name__)).encode()
    return (call, getattr(function, "__dict__", {}))


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | tuple | list | np.ndarray | jax.Array)
