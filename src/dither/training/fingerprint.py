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


def fingerprint(*values: Any) -> str:
    """A short name for what values are.

    Of an array it covers type, shape and content; of a file its content; of a function what it
    does, with its defaults, what it has closed over, and the plain global values that it names.
    """
    content = hashlib.sha256()
    for piece in _pieces(values):
        content.update(piece + b"\0")
    return content.hexdigest()[:16]


def _pieces(value: Any) -> Iterator[bytes]:
    yield type(value).__name__.encode()
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        yield f"{array.dtype} {array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, Path):
        yield hashlib.sha256(value.read_bytes()).digest() if value.is_file() else bytes(value)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from _pieces((key, value[key]))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _pieces(inner)
    elif isinstance(value, set | frozenset):
        yield from _pieces(sorted(map(repr, value)))
    elif isinstance(value, type) or inspect.ismodule(value) or inspect.isbuiltin(value):
        yield value.__name__.encode()
    elif callable(value) and not isinstance(value, Configuration):
        yield from _of_callable(value)
    elif isinstance(value, Configuration):
        yield from _pieces({name: getattr(value, name) for name in type(value).model_fields})
    elif dataclasses.is_dataclass(value):
        yield from _pieces({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    else:
        yield repr(value).encode()


def _of_callable(value: Any) -> Iterator[bytes]:
    function = inspect.unwrap(value)
    if isinstance(function, functools.partial):
        yield from _pieces((function.func, function.args, function.keywords))
    elif isinstance(function, MethodType):
        yield from _pieces((function.__func__, vars(function.__self__)))
    elif isinstance(function, FunctionType):
        named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        known = {name: one for name, one in named.items() if _plain(one)}
        closed = tuple(cell.cell_contents for cell in function.__closure__ or ())
        yield from _of_code(function.__code__)
        yield from _pieces((function.__defaults__, function.__kwdefaults__, closed, known))
    else:  # an object that can be called
        yield from _of_code(type(function).__call__.__code__)
        yield from _pieces(vars(function))


def _of_code(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield " ".join(code.co_names).encode()
    for constant in code.co_consts:
        yield from _of_code(constant) if isinstance(constant, CodeType) else _pieces(constant)


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | tuple | list | np.ndarray | jax.Array)
