"""How large the figures are run."""

from dataclasses import dataclass

RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The learning rates that every method is tried with, in units of the averaged estimate."""


@dataclass(frozen=True)
class Scale:
    """Budgets, seeds, and the points of each figure.

    Attributes: `rates`, the grid of learning rates; `tuning_seeds` for each of them (the best is
    run again with rates × tuning_seeds fresh ones); `budgets`, measurements by problem; `noisy`,
    the problems of the noise sweeps; `cost_noises`, `update_noises`, `defects`, their sigmas;
    `codes` compared; `periods`, the values of tau_theta; `forms`.
    """

    rates: tuple[float, ...]
    tuning_seeds: int
    budgets: tuple[tuple[str, int], ...]
    noisy: tuple[str, ...]
    cost_noises: tuple[float, ...]
    update_noises: tuple[float, ...]
    defects: tuple[float, ...]
    codes: tuple[str, ...]
    periods: tuple[int, ...]
    forms: tuple[str, ...] = ("weight-mgd", "analog-mgd")

    @property
    def seeds(self) -> int:
        """Fresh seeds for the learning rate that was chosen: as many as the choice took."""
        return len(self.rates) * self.tuning_seeds

    def budget(self, problem: str) -> int:
        """The most measurements of one training."""
        return dict(self.budgets)[problem]


FULL = Scale(
    rates=RATES,
    tuning_seeds=6,
    budgets=(("xor", 40_000), ("parity4", 60_000), ("nist7x7", 50_000)),
    noisy=("parity4", "nist7x7"),
    cost_noises=(0.0, 0.001, 0.003, 0.01, 0.03, 0.1),
    update_noises=(0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
    defects=(0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
    codes=("rademacher", "walsh", "sequential", "sinusoidal"),
    periods=(1, 3, 10, 30, 100, 300),
)

QUICK = Scale(
    rates=(0.1, 0.3, 1.0),
    tuning_seeds=4,
    budgets=(("nist7x7", 20_000),),
    noisy=("nist7x7",),
    cost_noises=(0.0, 0.01, 0.03),
    update_noises=(0.0, 0.001, 0.003),
    defects=(0.0, 0.1, 0.3),
    codes=("rademacher", "walsh"),
    periods=(1, 10),
)
