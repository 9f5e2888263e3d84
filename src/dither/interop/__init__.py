"""dither's algorithms in other packages: a gest-api generator and a PyTorch optimiser."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dither.interop.gest import DitherGenerator
    from dither.interop.torch_optim import MGD

__all__ = ["MGD", "DitherGenerator"]


def __getattr__(name: str) -> Any:
    homes = {"MGD": "torch_optim", "DitherGenerator": "gest"}
    if name in homes:
        return getattr(import_module(f"dither.interop.{homes[name]}"), name)
    raise AttributeError(f"module 'dither.interop' has no attribute '{name}'")
