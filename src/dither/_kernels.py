"""Compiled kernels, where they were built; each has a plain form in JAX that computes the same.

They are built when dither is installed where there is a C++ compiler, and run on the CPU only.
`DITHER_KERNELS=0` switches them off. Kernel and plain form agree to rounding.
"""

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

import jax

LEVELS = {"v4": "AVX-512", "v3": "AVX2", "any": "portable"}


@functools.cache
def loaded() -> str:
    """The instructions that the kernels were compiled for; empty where there are none."""
    if os.environ.get("DITHER_KERNELS") == "0":
        return ""
    for level, name in LEVELS.items():
        try:
            module = importlib.import_module(f"dither._kernels_{level}")
        except ImportError:
            continue
        try:
            for kernel, handler in module.handlers().items():
                jax.ffi.register_ffi_target(f"dither_{kernel}", handler, platform="cpu")
        except Exception:  # built for another version of JAX
            return ""
        return name
    return ""


def call(kernel: str, result: Any, vmap_method: str = "broadcast_all") -> Callable[..., Any]:
    """A kernel as a function of arrays and static attributes; `result` gives shapes and types."""
    if not loaded():
        raise RuntimeError("no kernels were built")
    return jax.ffi.ffi_call(f"dither_{kernel}", result, vmap_method=vmap_method)
