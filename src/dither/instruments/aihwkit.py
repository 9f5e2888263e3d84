"""Analog tiles of IBM's aihwkit as a device."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither.instruments.connection import AbstractObjectConnection
from dither.instruments.extent import split
from dither.instruments.extras import must_have, needs
from dither.instruments.python import PythonDevice


class AihwkitDevice:
    """A module with analog layers; only the weights of the tiles are trained.

    `set_weights` programs a tile's weights and analog bias, exactly or, if `realistic`, through the
    tile's programming model. Every reading passes through the tile's model of converters and noise.
    Training starts from the present weights of the tiles.

    Arguments: a torch module with analog layers, such as `AnalogLinear`; `bounds` of all weights, a
    pair (low, high); `realistic`, see above.
    Errors: `RequestError` if aihwkit is not installed or the module has no analog layers.
    """

    def __init__(
        self,
        module: object,
        *,
        bounds: tuple[float, float] | None = None,
        realistic: bool = False,
    ) -> None:
        self._torch = needs("torch", "torch")
        base = needs("aihwkit.nn.modules.base", "aihwkit").AnalogLayerBase
        self.module, self.bounds, self.realistic = module, bounds, realistic
        modules = module.named_modules() if isinstance(module, self._torch.nn.Module) else ()
        self._layers = {
            name or "tile": layer
            for name, layer in modules
            if isinstance(layer, base) and hasattr(layer, "analog_module")
        }
        if not self._layers:
            raise RequestError(
                f"{type(module).__name__} has no analog layers; give a module with analog "
                "layers, such as "
                "aihwkit.nn.AnalogLinear."
            )
        self.parameters = {}
        held = []
        for name, layer in self._layers.items():
            for part, array in zip(("weight", "bias"), layer.get_weights()):
                if array is not None:
                    self.parameters[f"{name}.{part}"] = tuple(array.shape)
                    held.append(array.detach().cpu().numpy().ravel())
        self.initial = np.concatenate(held)

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Program all tiles."""
        values = {
            name: self._torch.from_numpy(part.astype(np.float32))
            for name, part in split(theta, self.parameters).items()
        }
        for name, layer in self._layers.items():
            layer.set_weights(
                values[f"{name}.weight"], values.get(f"{name}.bias"), realistic=self.realistic
            )

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B ..."]:
        """The module's outputs for a batch."""
        with self._torch.no_grad():
            x = self._torch.tensor(inputs, dtype=self._torch.float32)
            outputs: np.ndarray = self.module(x).cpu().numpy()  # type: ignore[operator]  # found by its name
        return outputs


class AihwkitConnection(AbstractObjectConnection):
    """A module with analog layers; `realistic`: whether writes pass through the tiles' model."""

    kind: Literal["aihwkit"] = "aihwkit"
    realistic: bool = False

    def check_installed(self) -> None:
        must_have("aihwkit", "torch", "aihwkit")

    def connect(self) -> PythonDevice:
        self.check_installed()
        module = self.found_object()
        target = AihwkitDevice(module, bounds=self.bounds, realistic=self.realistic)
        return PythonDevice(target, guard=self.guard)
