"""The layer of each parameter: parameters with the same name before the last slash."""

import numpy as np
from jaxtyping import Int

from dither.contract import Space


def layer_names(space: Space) -> list[str]:
    """The layers' names, in order."""
    return list(dict.fromkeys(p.name.rpartition("/")[0] or p.name for p in space.parameters))


def sizes(space: Space) -> Int[np.ndarray, " L"]:
    """N_l, the parameters of every layer."""
    return np.bincount(layer_of(space))


def layer_of(space: Space) -> Int[np.ndarray, " P"]:
    """The layer number of each parameter."""
    names = layer_names(space)
    numbers = [names.index(p.name.rpartition("/")[0] or p.name) for p in space.parameters]
    return np.repeat(numbers, [p.size for p in space.parameters])
