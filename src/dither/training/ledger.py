"""The ledger: the cost of training."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from dither._words import count, number


@dataclass(frozen=True)
class Ledger:
    """The operations of each replica's device.

    Attributes, one number per replica: `measurements`, forward passes of one batch, failed ones
    included; `writes`; `samples` measured; `failed` measurements; `perturbations` of neurons, at
    most one per measurement; `device_seconds` and `joules` spent on the device.
    """

    measurements: Int[np.ndarray, " R"]
    writes: Int[np.ndarray, " R"]
    samples: Int[np.ndarray, " R"]
    failed: Int[np.ndarray, " R"]
    perturbations: Int[np.ndarray, " R"]
    device_seconds: Float[np.ndarray, " R"]
    joules: Float[np.ndarray, " R"]

    @staticmethod
    def empty(replicas: int) -> "Ledger":
        """An empty ledger."""
        kinds = [np.int64] * 5 + [np.float64] * 2
        return Ledger(*(np.zeros(replicas, kind) for kind in kinds))

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def replica(self, number: int) -> dict[str, int | float]:
        """The ledger of one replica as plain numbers."""
        return {f.name: getattr(self, f.name)[number].item() for f in fields(self)}

    def total(self) -> dict[str, int | float]:
        """The sum over all replicas."""
        return {f.name: getattr(self, f.name).sum().item() for f in fields(self)}


def one_measurement(samples: int) -> Ledger:
    """The ledger of one measurement of a batch by one device, which counts its writes itself."""
    one, none = np.ones(1, np.int64), np.zeros(1)
    return Ledger(one, 0 * one, samples * one, 0 * one, 0 * one, none, none)


def in_words(account: Mapping[str, int | float]) -> list[tuple[str, str, str]]:
    """A ledger as text: quantity, amount, unit.

    Seconds and joules are left out if they are 0, that is, unknown.
    """
    counted = {"measurements": "measurements", "writes": "writes",
               "perturbations": "perturbations at neurons", "samples": "samples",
               "failed": "failed measurements"}  # fmt: skip
    taken = {"device_seconds": ("time on the device", "s"), "joules": ("energy", "J")}
    # perturbations of neurons are shown only if there were any
    said = [(name, count(account[key]), "") for key, name in counted.items()
            if key != "perturbations" or account.get(key)]  # fmt: skip
    said += [(name, number(account[key]), unit) for key, (name, unit) in taken.items()
             if account[key] > 0]  # fmt: skip
    return said
