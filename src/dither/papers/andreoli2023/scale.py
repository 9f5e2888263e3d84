"""How large the figures are run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes and lengths; lengths in units of N, measurements or tests.

    Attributes: of the figures against N: `sizes`, `seeds`, `tests`; of `rules`: `rules_neurons`,
    `rules_seeds`, `rules_noises`, the `rules` compared (all where empty); of `noise`:
    `noise_neurons`, `noise_seeds`, `noise_levels`.
    """

    sizes: tuple[int, ...]
    seeds: int
    tests: int
    rules_neurons: int
    rules_seeds: int
    rules_noises: tuple[float, ...]
    noise_neurons: int
    noise_seeds: int
    noise_levels: tuple[float, ...]
    rules: tuple[str, ...] = ()


FULL = Scale(
    sizes=(100, 225, 400, 625, 961, 1600),
    seeds=12,
    tests=30,
    rules_neurons=961,
    rules_seeds=12,
    rules_noises=(0.0, 0.03, 0.1),
    noise_neurons=400,
    noise_seeds=12,
    noise_levels=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
)

QUICK = Scale(
    sizes=(64, 196),
    seeds=4,
    tests=20,
    rules_neurons=100,
    rules_seeds=4,
    rules_noises=(0.1,),
    noise_neurons=100,
    noise_seeds=4,
    noise_levels=(0.2,),
    rules=("greedy", "seen and solved"),
)
