"""Compare the law of the full training curve with simulated descents.

The quantity compared is the number of tests to each criterion. For each criterion and system, the
script takes the mean over descents with the same columns and the same initial weights, the mean
over surrogates, and the ratio of the two means. It writes the means and the mean ratio over
systems, with its standard error, to docs/results/curve_law.json and curve_law.md. The run takes
about ten minutes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dither.laws.descent import descend
from dither.laws.fits import CRITERIA, DescentRun
from dither.laws.surrogate import predicted_curve, statistics_of
from dither.networks import PhotonicReservoir
from dither.tasks import MackeyGlass

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SYSTEMS, RUNS = 12, 8
NAMES = [name for name in CRITERIA if "fixed" not in name]

System = tuple[np.ndarray, np.ndarray, np.ndarray]


def gaussian(neurons: int, spread: float, planted: bool, seed: int) -> System:
    """A system of independent normal columns with log-normal amplitudes, T = 4N.

    Returns the columns, the target and the initial weights.
    """
    rng, samples = np.random.default_rng(seed), 4 * neurons
    amplitudes = np.exp(spread * rng.normal(size=neurons))
    x = rng.standard_normal((neurons, samples)) * amplitudes[:, None] / samples**0.5
    if planted:
        target = rng.integers(0, 2, neurons) @ x
    else:
        target = rng.normal(0.5, 0.5, neurons) @ x
        target = target + 0.3 * np.linalg.norm(amplitudes) / samples**0.5 * rng.normal(size=samples)
    return x, target, rng.integers(0, 2, neurons)


def reservoir(neurons: int, seed: int) -> System:
    """A photonic reservoir that predicts the Mackey-Glass series one step ahead.

    Returns the states, the target and the initial weights.
    """
    series, network = MackeyGlass().load(), PhotonicReservoir(neurons=neurons)
    states = network.states(network.fabricate(jax.random.key(seed)), jnp.asarray(series.inputs))
    weights = np.random.default_rng(seed).integers(0, 2, neurons)
    part = series.train_part
    return np.asarray(states)[part].T, np.asarray(series.targets)[part], weights


def times(tests: np.ndarray, errors: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The mean over runs of each criterion and of the final error."""
    runs = [DescentRun(tests, e, int(k)) for e, k in zip(errors, last)]
    return np.array(
        [np.mean([CRITERIA[name](run) for run in runs]) for name in NAMES] + [errors[:, -1].mean()]
    )


def compared(system: System, traces: Any, seed: int, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """The measured and the predicted criteria of one system."""
    x, target, weights = (jnp.asarray(one, jnp.float32) for one in system)
    error = "squared" if traces == "independent" else "nmse"
    neurons = len(x)
    every = max(1, neurons // 100)
    tests = 40 * neurons // every * every
    ran = [
        descend(key, x, target, weights, tests, error=error, record_every=every, **how)
        for key in jax.random.split(jax.random.key(seed), RUNS)
    ]
    k = every * np.arange(tests // every + 1)
    measured = times(
        k,
        np.array([run.errors for run in ran], float),
        np.array([run.last_accepted for run in ran]),
    )
    law = predicted_curve(
        jax.random.key(10_000 + seed), statistics_of(*system, traces=traces, error=error), tests,
        draws=RUNS, record_every=every, **how,
    )  # fmt: skip
    return measured, times(law.tests, law.errors, law.last_accepted)


def settings() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Yield name, system constructor, kind of traces and descent options of each setting."""
    for order in ("uniform", "sweep"):
        for planted in (True, False):
            for spread in (0.0, 0.5, 1.0):
                yield (
                    f"Gaussian, {'planted' if planted else 'real-valued teacher'}, "
                    f"spread {spread:g}, {order}",
                    lambda seed, s=spread, p=planted: gaussian(500, s, p, seed),
                    "independent",
                    {"order": order},
                )
        for neurons in (100, 225, 400, 625, 961):
            yield (
                f"reservoir, N = {neurons}, {order}",
                lambda seed, n=neurons: reservoir(n, seed),
                "correlated",
                {"order": order},
            )
    for decision in ("keep", "remeasure"):
        yield (
            f"reservoir, N = 400, sweep, noise 0.2, {decision}",
            lambda seed: reservoir(400, seed),
            "correlated",
            {"order": "sweep", "noise": 0.2, "decision": decision},
        )


def main() -> None:
    """Run all settings, or those whose name contains the argument.

    The results are written as JSON and as a Markdown table.
    """
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    rows = []
    columns = [*NAMES, "final error"]
    lines = ["| columns, order | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, make, traces, how in (one for one in settings() if word in one[0]):
        both = np.array([compared(make(s), traces, s, **how) for s in range(SYSTEMS)])
        ratios = both[:, 1] / both[:, 0]
        mean, error = ratios.mean(axis=0), ratios.std(axis=0, ddof=1) / SYSTEMS**0.5
        # a planted descent ends at zero, and the ratio of the rounding errors has no meaning
        kept = columns[:-1] if "planted" in name else columns
        for i, column in enumerate(kept):
            rows.append(
                {"setting": name, "quantity": column, "measured": both[:, 0, i].mean(),
                 "law": both[:, 1, i].mean(), "ratio": mean[i], "standard_error": error[i]}
            )  # fmt: skip
        cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(mean, error)][: len(kept)]
        cells += ["both 0"] * (len(columns) - len(kept))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        (RESULTS / "curve_law.json").write_text(json.dumps(rows, indent=1) + "\n")
        (RESULTS / "curve_law.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
