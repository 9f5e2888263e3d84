"""A PyTorch module as a device."""

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither._errors import RequestError
from dither.instruments.connection import AbstractObjectConnection
from dither.instruments.extent import split
from dither.instruments.extras import must_have, needs
from dither.instruments.python import PythonDevice


class TorchDevice:
    """A PyTorch module; only its outputs are used, and no backward pass is made.

    Its parameters are those of `named_parameters()`, in that order, and training starts from their
    present values. The module is put into evaluation mode.

    Arguments: the module; `bounds`, a pair (low, high) for all parameters; `bits` of their DACs.
    Errors: `RequestError` if torch is not installed or the argument is not a module.
    """

    def __init__(
        self, module: Any, *, bounds: tuple[float, float] | None = None, bits: int | None = None
    ) -> None:
        self._torch = needs("torch", "torch")
        if not isinstance(module, self._torch.nn.Module):
            raise RequestError(
                f"{type(module).__name__} is not a torch.nn.Module; give the module itself."
            )
        self.module = module.eval()
        self.bounds, self.bits = bounds, bits
        self._own = dict(module.named_parameters())
        self.parameters = {name: tuple(array.shape) for name, array in self._own.items()}
        arrays = [array.detach().cpu().numpy().ravel() for array in self._own.values()]
        self.initial = np.concatenate([np.zeros(0), *arrays])

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Set all parameters."""
        with self._torch.no_grad():
            for name, values in split(theta, self.parameters).items():
                self._own[name].copy_(self._torch.as_tensor(values))

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B ..."]:
        """The module's outputs for a batch."""
        like = next(iter(self._own.values()))
        with self._torch.no_grad():
            x = self._torch.tensor(inputs, dtype=like.dtype, device=like.device)
            outputs: np.ndarray = self.module(x).cpu().numpy()
        return outputs


class TorchConnection(AbstractObjectConnection):
    """A PyTorch module, with `bounds` and `bits` of its parameters."""

    kind: Literal["torch"] = "torch"
    bits: Annotated[int, Field(ge=1, le=24)] | None = None

    def check_installed(self) -> None:
        must_have("torch", "torch")

    def connect(self) -> PythonDevice:
        self.check_installed()
        target = TorchDevice(self.found_object(), bounds=self.bounds, bits=self.bits)
        return PythonDevice(target, guard=self.guard)
