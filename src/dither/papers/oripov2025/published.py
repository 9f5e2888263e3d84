"""What the paper found."""

import csv
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """A published number: over `runs`, of which `reached` got there; `sd` is NaN for one run."""

    figure: str
    method: str
    d: int
    setting: str
    value: float | None
    quantity: str
    runs: int
    reached: int
    median: float
    mean: float
    sd: float


@lru_cache(1)
def rows() -> tuple[Published, ...]:
    """All published numbers at hand; some of each figure are left out."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            row["figure"],
            row["method"],
            int(row["d"]),
            row["setting"],
            float(row["value"]) if row["value"] else None,
            row["quantity"],
            int(row["runs"]),
            int(row["reached"]),
            float(row["median"]),
            float(row["mean"]),
            float(row["sd"] or "nan"),
        )
        for row in csv.DictReader(text.splitlines())
    )


def published(figure: str, method: str, d: int, quantity: str) -> Published | None:
    """One published number; None where it is not at hand."""
    found = [
        row
        for row in rows()
        if (row.figure, row.method, row.d, row.quantity) == (figure, method, d, quantity)
    ]
    return found[0] if found else None
