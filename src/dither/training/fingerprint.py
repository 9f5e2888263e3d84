"""Fingerprints: digests of data, functions and settings, equal in every process."""

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from dither._configuration import Configuration
from dither._files import read_file


def fingerprint(*values: Any) -> str:
    """A digest of values.

    It covers type, shape and content of an array; the content of a file; the code of a function,
    its defaults, its closure, and the plain global values it refers to; and, for a configuration
    from outside dither, everything its module defines except comments.
    """
    content = hashlib.sha256()
    for piece in _pieces(values):
        content.update(piece + b"\0")
    return content.hexdigest()[:16]


def _pieces(value: Any, within: tuple[int, ...] = ()) -> Iterator[bytes]:
    """The pieces of a value; `within` are the objects that contain it."""
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
    """A value as bytes, or the values it consists of."""
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
        settings = tuple((name, getattr(value, name)) for name in type(value).model_fields)
        return (*settings, *_made_by(type(value)))
    if isinstance(value, type) or inspect.ismodule(value):
        return value.__name__.encode()
    if callable(value):
        return _of_callable(value)
    if dataclasses.is_dataclass(value):
        return tuple((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    # the default repr of an object only shows its address in memory
    text = repr(value)
    return b"" if hex(id(value)) in text else text.encode()


def _made_by(cls: type) -> tuple[Any, ...]:
    """The definitions that a foreign class depends on: all of its modules, none of dither's.

    For a script or a notebook it is only the class, since the rest changes all the time.
    """
    found: list[Any] = []
    for c in cls.__mro__:
        if not issubclass(c, Configuration) or c.__module__.split(".")[0] == "dither":
            continue
        alone = c.__module__ == "__main__" or c.__module__ not in sys.modules
        found.append(_written(c) if alone else _defined_in(sys.modules[c.__module__]))
    return tuple(found)


def _defined_in(module: ModuleType) -> tuple[Any, ...]:
    """The functions of a module, including methods, and its plain values, by name."""
    own = [(name, one) for name, one in sorted(vars(module).items()) if name[:2] != "__"]
    found: list[Any] = [(name, one) for name, one in own if _plain(one)]
    for name, one in own:
        if getattr(one, "__module__", None) != module.__name__:
            continue
        if isinstance(one, type):
            found += [(name, key, inner) for key, inner in sorted(_written(one).items())]
        elif callable(one):
            found.append((name, one))
    return tuple(found)


def _written(cls: type) -> dict[str, Any]:
    """The functions and plain values of a class, without those added by Python and pydantic."""
    found = {}
    for name, one in dict(vars(cls)).items():  # reading the attributes may build the class
        one = getattr(one, "fget", None) or getattr(one, "func", None) or one
        one = getattr(one, "__func__", one)
        own = isinstance(one, FunctionType) and one.__module__ == cls.__module__
        if own or (_plain(one) and not name.startswith(("__", "model_"))):
            found[name] = one
    return found


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
