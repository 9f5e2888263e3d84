"""Fleets: parameters for unseen chips, and costs transmitted over the air.

`python benchmarks/related/fleet.py` writes docs/results/fleet.json. `... mismatch`, `... kept`,
`... air` or `... rate` makes only one of its parts. The run takes half an hour on one core.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dither
from dither import MLP, SimulatedDevice, Task, Until, WeightMGD, make_task
from dither.algorithms import AbstractAlgorithm, Backpropagation, Optimizer
from dither.algorithms.updates import OverTheAir
from dither.devices import AbstractDevice, Air, Fleet, Mismatch
from dither.tasks import Digits, NIST7x7, Parity
from dither.training import Result
from dither.training.fused import FusedLoop

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "fleet.json"
CHIPS, SEEDS, TUNING = 8, 9, {"key": 100, "replicas": 3}
"""Chips in a fleet; number of reported seeds, from 0; seeds that select the learning rate."""

Rule = Callable[[float], AbstractAlgorithm]


def interval(values: Any, draws: int = 10_000) -> list[float]:
    """The mean and the limits of its 95 % bootstrap interval."""
    values = np.asarray(values, float)
    picks = np.random.default_rng(0).choice(values, (draws, len(values)))
    return [values.mean().item(), *np.percentile(picks.mean(axis=1), [2.5, 97.5]).tolist()]


# ---------------------------------------------------------------------- unseen chips

ROUNDS = 400_000
NETWORK = MLP(widths=(4, 12, 1), activation="tanh", output="sigmoid")
CHIP = SimulatedDevice(network=NETWORK, imperfections=(Mismatch(gain=0.1),))


def mismatch() -> dict[str, Any]:
    """Scores on 8 unseen chips: 4-bit parity, with a weight mismatch of 10 %."""
    cases: dict[str, tuple[AbstractDevice, int]] = {
        "one chip": (CHIP, ROUNDS),
        "one chip, as many measurements as 8": (CHIP, CHIPS * ROUNDS),
        "fleet of 8": (Fleet(devices=(CHIP,), copies=CHIPS), ROUNDS),
    }
    found: dict[str, Any] = {}
    rates: dict[bool, float] = {}
    for name, (device, rounds) in cases.items():
        one = device.count == 1
        if one not in rates:
            rates[one] = min(
                (0.1, 0.3, 1.0),
                key=lambda rate: final(trained(device, Parity(bits=4), mgd(rate), ROUNDS // 4)),
            )
        started = time.monotonic()
        result = trained(device, Parity(bits=4), mgd(rates[one]), rounds, 0, SEEDS)
        # the same unseen chips in all cases: those after the eighth chip of each seed
        unseen = [
            result.further(2 * CHIPS - device.count, r)["score"].to_numpy()[-CHIPS:]
            for r in range(SEEDS)
        ]
        found[name] = {
            "learning_rate": rates[one],
            "measurements_in_all": rounds * device.count,
            "own": [replica.score for replica in result.replicas],
            "unseen_mean": interval([scores.mean() for scores in unseen]),
            "unseen_worst": [scores.min().item() for scores in unseen],
            "unseen_worst_mean": interval([scores.min() for scores in unseen]),
            "wall_seconds": time.monotonic() - started,
        }
        print(name, found[name], flush=True)
    return found


def mgd(rate: float) -> WeightMGD:
    """Weight perturbation with central pairs."""
    return WeightMGD(learning_rate=rate, delta=0.1, pairs="central")


def trained(
    device: AbstractDevice,
    task: Any,
    rule: AbstractAlgorithm,
    measurements: int,
    key: int = TUNING["key"],
    replicas: int = TUNING["replicas"],
    looks: int = 200,
) -> Result:
    """Train replicas in parallel."""
    return dither.train(
        device,
        task,
        rule,
        key=key,
        replicas=replicas,
        until=Until(measurements=measurements),
        score_every=max(1, measurements // looks),
    )


def final(result: Result) -> float:
    """The mean test cost over replicas and over the second half of the evaluations.

    The result is infinite if evaluations are missing or a cost is not finite.
    """
    table = result.history.pivot_table(index="measurements", columns="replica", values="test_cost")
    lost = len(table) < 200 or len(table.columns) < len(result.replicas)
    late = table.to_numpy()[len(table) // 2 :]
    return np.inf if lost or not np.isfinite(late).all() else float(late.mean())


KEPT: dict[str, tuple[Any, MLP, int]] = {
    "NIST7x7": (
        NIST7x7(batch=16),
        MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid"),
        20_000,
    ),
    "digits": (Digits(batch=100), MLP(widths=(64, 32, 10), activation="tanh"), 4_000),
}
"""Larger tasks, each with its network and its number of updates."""


def kept() -> dict[str, Any]:
    """The part of one chip's score that its parameters keep on the worst of 8 unseen chips.

    The chips have a weight mismatch of 10 %. One chip is trained with its exact gradients, at the
    best of four learning rates.
    """
    found = {}
    for name, (task, network, updates) in KEPT.items():
        chip = SimulatedDevice(
            network=network, imperfections=(Mismatch(gain=0.1),), access="gradients"
        )
        best = min(
            (0.1, 0.3, 1.0, 3.0),
            key=lambda rate: final(
                trained(chip, task, Backpropagation(learning_rate=rate), updates)
            ),
        )
        result = trained(chip, task, Backpropagation(learning_rate=best), updates, 0, SEEDS)
        own = [replica.score for replica in result.replicas]
        worst = [
            result.further(CHIPS, r)["score"].to_numpy()[-CHIPS:].min().item() for r in range(SEEDS)
        ]
        shares = [unseen / score for unseen, score in zip(worst, own)]
        found[name] = {
            "learning_rate": best,
            "own": own,
            "unseen_worst": worst,
            "kept": interval(shares),
        }
        print(name, found[name], flush=True)
    return found


# ---------------------------------------------------------------------- over the air

FEATURES, SAMPLES, SCALE, LOOKS = 16, 32, 0.02, 20_000


def linear_task() -> Task:
    """Linear regression with the cost |θ − θ*|²: the inputs have zero mean and unit covariance."""
    rng = np.random.default_rng(7)
    first = np.column_stack([np.ones(SAMPLES), rng.standard_normal((SAMPLES, FEATURES))])
    inputs = np.linalg.qr(first)[0][:, 1:] * SAMPLES**0.5
    wanted = rng.standard_normal((FEATURES, 1)) / FEATURES**0.5
    return make_task(inputs, inputs @ wanted, inputs, inputs @ wanted)


def fleet(widths: tuple[int, ...], alpha: float, scale: float = SCALE) -> Fleet:
    """Eight ideal chips behind a fading channel with interference."""
    network = MLP(widths=widths, activation="identity")
    chip = SimulatedDevice(network=network)
    return Fleet(devices=(chip,), copies=CHIPS, air=Air(alpha=alpha, scale=scale))


def rules(alpha: float) -> dict[str, Rule]:
    """The update rules by name."""
    tail = min(alpha, 2.0)

    def made(**more: Any) -> Rule:
        return lambda rate: WeightMGD(learning_rate=rate, delta=0.1, pairs="central", **more)

    return {
        "descent": made(),
        "descent, outliers = 5": made(outliers=5.0),
        "AdaGrad-OTA": made(update=OverTheAir(norm="adagrad", alpha=tail)),
        "Adam-OTA": made(update=OverTheAir(norm="adam", alpha=tail)),
        "Adam": lambda rate: WeightMGD(
            learning_rate=rate, delta=0.1, pairs="central", optimizer=Optimizer(name="adam")
        ),
    }


RATES = {
    "descent": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "normalised": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}
"""The learning rates, the same number for each kind of rule. A descent step has the units of the
gradient; a step of the other rules has the units of θ."""


def side_by_side(
    device: Fleet, task: Task, rule: Rule, rates: tuple[float, ...], seeds: list[int]
) -> np.ndarray:
    """Run all rates and seeds in one program; return costs of shape (rates, seeds, evaluations)."""
    grid = {"algorithm.learning_rate": np.repeat(rates, len(seeds))}
    loop = FusedLoop(rule(1.0), device, device.deal(task), seeds * len(rates), grid)
    costs = []
    for _ in range(200):
        loop.advance(LOOKS // 200)
        costs.append(loop.evaluate().cost)
    return np.stack(costs, axis=-1).reshape(len(rates), len(seeds), -1)


def air() -> dict[str, Any]:
    """The cost reached by each update on a quadratic and a quartic, with interference of α = 1.5.

    The learning rate is the one of eight with the lowest mean cost over the second half of the run,
    on three tuning seeds.
    """
    task, found = linear_task(), {}
    seeds = [*range(100, 103), *range(SEEDS)]
    for name, widths in (("quadratic", (FEATURES, 1)), ("quartic", (FEATURES, 4, 1))):
        device = fleet(widths, 1.5)
        for rule_name, rule in rules(1.5).items():
            rates = RATES["descent" if "descent" in rule_name else "normalised"]
            costs = side_by_side(device, task, rule, rates, seeds)
            late = costs[..., 100:]
            tuning = np.nan_to_num(late[:, :3].mean(axis=(1, 2)), nan=np.inf)
            best = int(np.argmin(tuning))
            shown = late[best, 3:]
            found[f"{name}, {rule_name}"] = {
                "learning_rate": rates[best],
                "tuning": {str(r): one if np.isfinite(one) else None
                           for r, one in zip(rates, tuning.tolist())},
                "not_finite_by_rate": {str(r): int((~np.isfinite(one)).any(axis=-1).sum())
                                       for r, one in zip(rates, costs[:, 3:])},
                "above_the_start_by_rate": {str(r): int((late[k, 3:] > 2.0).any(axis=-1).sum())
                                            for k, r in enumerate(rates)},
                "late_median": float(np.median(shown)),
                "late_mean": interval(np.nan_to_num(shown.mean(axis=1), nan=1e9)),
                "late_highest": float(np.nan_to_num(shown.max(), nan=1e9)),
            }  # fmt: skip
            print(name, rule_name, found[f"{name}, {rule_name}"], flush=True)
    return found


def rate() -> dict[str, Any]:
    """Compare the mean of |∇f|² = 4 f up to T with the bound T^(−(1 − 1/α)), on the quadratic."""
    found, task, most = {}, linear_task(), 200_000
    for alpha in (1.2, 1.5, 1.8, 2.0):
        device, rule = fleet((FEATURES, 1), alpha), rules(alpha)["AdaGrad-OTA"]
        result = trained(device, task, rule(0.1), most, 0, 4 * SEEDS, looks=2000)
        table = result.history.pivot_table(
            index="measurements", columns="replica", values="test_cost"
        )
        T = table.index.to_numpy(float)
        means = 4 * np.cumsum(table.to_numpy(), axis=0) / np.arange(1, len(T) + 1)[:, None]
        late = most / 10 <= T
        slopes = [np.polyfit(np.log(T[late]), np.log(one[late]), 1)[0] for one in means.T]
        last = 4 * table.to_numpy()[-len(T) // 10 :].mean()
        found[str(alpha)] = {
            "bound": -(1 - 1 / alpha),
            "measured": interval(slopes),
            "of_the_mean": float(
                np.polyfit(np.log(T[late]), np.log(means.mean(axis=1)[late]), 1)[0]
            ),
            "last_tenth": last,
        }
        print(alpha, found[str(alpha)], flush=True)
    return found


def main(parts: list[str]) -> None:
    known = {"mismatch": mismatch, "kept": kept, "air": air, "rate": rate}
    for part in parts or known:
        made = known[part]()
        told = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
        told[part] = made
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
