"""What training has cost."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from dither._words import count, number


@dataclass(frozen=True)
class Ledger:
    """What each replica's device has been asked to do, counted apart.

    Attributes, one number a replica: `measurements`, forward passes of one batch, failed ones
    included; `writes`; `samples` measured; `failed` measurements; `perturbations` added at the
    neurons, one in each measurement that has any; `device_seconds` and `joules` spent on the
    device.
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
        """Nothing asked yet."""
        kinds = [np.int64] * 5 + [np.float64] * 2
        return Ledger(*(np.zeros(replicas, kind) for kind in kinds))

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def replica(self, number: int) -> dict[str, int | float]:
        """One replica's account as plain numbers."""
        return {f.name: getattr(self, f.name)[number].item() for f in fields(self)}

    def total(self) -> dict[str, int | float]:
        """All replicas' accounts added up."""
        return {f.name: getattr(self, f.name).sum().item() for f in fields(self)}


def one_measurement(samples: int) -> Ledger:
    """The account of one measurement of a batch by one device, whose writes it counts itself."""
    one, none = np.ones(1, np.int64), np.zeros(1)
    return Ledger(one, 0 * one, samples * one, 0 * one, 0 * one, none, none)


def in_words(account: Mapping[str, int | float]) -> list[tuple[str, str, str]]:
    """An account for people: what, how much, of which unit.

    Without seconds and joules where there are none: then they are not known.
    """
    counted = {"measurements": "measurements", "writes": "writes",
               "perturbations": "perturbations at neurons", "samples": "samples",
               "failed": "failed measurements"}  # fmt: skip
    taken = {"device_seconds": ("time on the device", "s"), "joules": ("energy", "J")}
    # a perturbation at the neurons is told of only where there were any
    said = [(name, count(account[key]), "") for key, name in counted.items()
            if key != "perturbations" or account.get(key)]  # fmt: skip
    said += [(name, number(account[key]), unit) for key, (name, unit) in taken.items()
             if account[key] > 0]  # fmt: skip
    return said
