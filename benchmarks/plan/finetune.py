"""Predicted and actual fine-tuning of trained weights.

`finetune.py` trains a network on the digits and then changes the chip or the images. It compares
the predicted and the measured number of measurements until half or a tenth of the resulting
increase in cost is left, for backpropagation and for weight perturbation. The rival is a linear
model: the network linearised at the weights where the run starts, trained by the same rule with the
same seeds. It writes docs/results/finetune.json and finetune.md. `finetune.py CHANGE ...` makes
only the cells of these changes.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import dither
from dither._words import number
from dither.algorithms import Backpropagation
from dither.networks import JaxFunction
from dither.planning.predict import predict
from dither.tasks import Digits

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SEEDS, FIRST, BUDGET = 9, 100, 200_000
NETWORK = dither.MLP(widths=(64, 32, 10), activation="tanh")
CHIP = dither.SimulatedDevice(network=NETWORK, access="gradients")
RULES = {
    "backpropagation": (Backpropagation(learning_rate=0.03), 2),
    "weight-mgd": (dither.WeightMGD(learning_rate=0.003, delta=0.005, pairs="central"), 100),
}
LEFT = (0.5, 0.1)
"""The fractions of the increase in cost that are left at the targets."""


def minus_cost(outputs, targets):
    """The score: the negative mean cross-entropy."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return -jnp.mean(losses)


def task_of(inputs, targets):
    """The digits task with given inputs; the cost is evaluated on 300 of the training examples."""
    rows = np.random.default_rng(0).permutation(len(inputs))[:300]
    return dither.make_task(
        inputs, targets, inputs[rows], targets[rows],
        cost="cross_entropy", batch=100, score=minus_cost, score_name="minus the cost",
    )  # fmt: skip


def cost(theta, task):
    """The mean cost on the evaluated examples."""
    outputs = NETWORK(CHIP.space.unravel(jnp.asarray(theta)), task.test_inputs)
    return -float(minus_cost(outputs, task.test_targets))


def changes(theta, inputs):
    """Variants with changed weights or changed images."""
    rng, images = np.random.default_rng(3), inputs.reshape(-1, 8, 8)
    noise = rng.normal(0, inputs.std(), inputs.shape)
    return {
        "weights spread by 60 %": (theta * (1 + 0.6 * rng.normal(size=theta.size)), inputs),
        "images moved by a pixel": (theta, np.roll(images, 1, axis=2).reshape(inputs.shape)),
        "images turned": (theta, np.swapaxes(images, 1, 2).reshape(inputs.shape)),
        "noisy images": (theta, inputs + noise.astype(inputs.dtype)),
        "contrast 0.4": (theta, 0.4 * inputs),
    }


def linearised(theta):
    """The chip whose outputs are linear in the weights, with the derivatives at theta."""
    at = CHIP.space.unravel(jnp.asarray(theta))

    def outputs(parameters, inputs):
        step = {name: parameters[name] - at[name] for name in at}
        value, change = jax.jvp(lambda weights: NETWORK(weights, inputs), (at,), (step,))
        return value + change

    shapes = tuple((one.name, one.shape) for one in CHIP.space.parameters)
    network = JaxFunction(object=outputs, parameters=shapes, input=NETWORK.input_shape)
    return dither.SimulatedDevice(network=network, access="gradients")


def reached(device, task, rule, target, every, begin):
    """The measurements of each seed to the target; None if it was not reached."""
    run = dither.train(
        device, task, rule, until=dither.Until(measurements=BUDGET, score=-target),
        score_every=every, key=FIRST, replicas=SEEDS, start_from=begin,
    )  # fmt: skip
    return [
        next((int(m) for m, s in zip(one.measurements, one.score) if s >= -target), None)
        for _, one in run.history.groupby("replica")
    ]


def main(names: Sequence[str]) -> None:
    """Predict and train all cells, or those of the named changes."""
    digits = Digits().load()
    inputs, targets = np.asarray(digits.inputs), np.asarray(digits.targets)
    before = task_of(inputs, targets)
    until = dither.Until(measurements=3000)
    trained = dither.train(
        CHIP, before, Backpropagation(learning_rate=0.3), until=until, score_every=1000, key=1
    )
    own = trained.parameters[0]
    result = RESULTS / "finetune.json"
    cells = json.loads(result.read_text()) if result.exists() else {}
    changed = changes(own, inputs)
    if unknown := set(names) - set(changed):
        sys.exit(f"There are no changes {sorted(unknown)}; choose from {', '.join(changed)}.")
    for change, (start, images) in changed.items():
        if names and change not in names:
            continue
        task = task_of(images, targets)
        start = start.astype(np.float32)
        lost = cost(start, task) - cost(own, before)
        for name, (rule, every) in RULES.items():
            for left in LEFT:
                target = cost(own, before) + left * lost
                until = dither.Until(measurements=BUDGET, score=-target)
                told = predict(CHIP, task, rule, until, key=0, start=start[None])
                begin = replace(trained, parameters=np.tile(start, (SEEDS, 1)))
                runs = {
                    of: reached(device, task, rule, target, every, begin)
                    for of, device in (("measured", CHIP), ("linear", linearised(start)))
                }
                cells[f"{change} | {name} | {left}"] = {
                    "from": cost(start, task),
                    "to": target,
                    "predicted": None if np.isinf(told.measurements) else told.measurements,
                    "passes": told.cost_of_prediction,
                    **runs,
                }
                result.write_text(json.dumps(cells, indent=1) + "\n")
                print(change, name, left, told.measurements, runs, flush=True)
    write_table(cells)


def write_table(cells) -> None:
    """Write the Markdown table."""
    lines = [
        "| change | rule | cost | predicted | measured, median (range) | ratio "
        "| linear model, median | ratio | passes, training / prediction |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios, linear, never = [], [], 0
    for name, one in cells.items():
        change, rule, _ = name.split(" | ")
        counts = sorted(np.inf if m is None else m for m in one["measured"])
        middle = float(np.median(counts))
        begin = f"| {change} | {rule} | {one['from']:.2g} → {one['to']:.2g} |"
        if one["predicted"] is None and np.isinf(middle):
            never += 1
            lines.append(f"{begin} not in {number(BUDGET)} | in no run | – | – | – | – |")
            continue
        told = np.inf if one["predicted"] is None else one["predicted"]
        ratios.append(told / middle)
        rival = float(np.median([np.inf if m is None else m for m in one["linear"]]))
        linear.append(rival / middle)
        model = f"{number(rival)} | {linear[-1]:.2f}"
        if np.isinf(rival):
            model = f"not in {number(BUDGET)} | ∞"
        predicted = number(float(f"{told:.3g}"))
        lines.append(
            f"{begin} {predicted} | {number(middle)} ({number(counts[0])} – {number(counts[-1])}) "
            f"| {ratios[-1]:.2f} | {model} | {middle / one['passes']:.2g} |"
        )
    (RESULTS / "finetune.md").write_text("\n".join(lines) + "\n")
    for of, found in (("predicted", ratios), ("linear model", linear)):
        off = np.exp(np.abs(np.log(found)))
        within = [int(np.sum(off <= most)) for most in (1.2, 1.5)]
        print(f"{of}: median factor {np.median(off):.2f}, within 1.2 and 1.5: {within}")
    print(f"correctly predicted not to reach the target: {never}")


if __name__ == "__main__":
    main(sys.argv[1:])
