"""Optional compiled kernels; each has an equivalent in plain JAX.

They are built if a C++ compiler is present when dither is installed, and run on the CPU only.
`DITHER_KERNELS=0` switches them off. A kernel and its JAX equivalent agree to rounding.
"""

import functools
import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

LEVELS = {"v4": "AVX-512", "v3": "AVX2", "any": "portable"}
"""The variants that are built, the fastest first; see `setup.py`."""


def built() -> tuple[ModuleType | None, str]:
    """The variant of the kernels for this processor, and the instruction set that it uses."""
    if os.environ.get("DITHER_KERNELS") == "0":
        return None, "switched off by DITHER_KERNELS=0"
    for level, name in LEVELS.items():
        try:
            return importlib.import_module(f"dither._kernels_{level}"), name
        except ImportError:
            continue
    return (
        None,
        "not built; install a C++ compiler and reinstall dither for 2 to 10 times the speed",
    )


@functools.cache
def loaded() -> bool:
    """Whether kernels exist; if so, they are registered with JAX."""
    import jax

    module, _ = built()
    if module is None:
        return False
    try:
        for kernel, handler in module.handlers().items():
            jax.ffi.register_ffi_target(f"dither_{kernel}", handler, platform="cpu")
    except Exception:  # built for another version of JAX
        return False
    return True


def call(kernel: str, result: Any, changing: int = 0) -> Callable[..., Any]:
    """A kernel as a function of arrays and static attributes.

    Arguments: its name; the shapes and types of its results; the number of leading arguments that
    are returned, modified, as the first results, so that they can share memory.
    """
    import jax

    if not loaded():
        raise RuntimeError("no kernels were built")
    shared = {place: place for place in range(changing)}
    return jax.ffi.ffi_call(
        f"dither_{kernel}", result, vmap_method="broadcast_all", input_output_aliases=shared
    )
