"""Make the figures and tables of the documentation with dither, as `make figures` does.

These include a run of each preset, the demo, the comparison of codes on XOR and parity, the update
period on NIST7x7, and the readout notebook. The full run takes about half an hour on two cores.
`make_figures.py NAME ...` makes only the named parts; a preset is selected by its name.
"""

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import dither
from dither._words import count
from dither.cli.train import use_all_cores
from dither.studies import read_study, run_study
from dither.studies.fits import median_with_interval
from dither.training import TrapWarning, preset_names
from dither.training.drawing import BLUE, GREY, ORANGE, STYLE, save_figure
from dither.training.figure import run_figure
from dither.training.fit import problem_of
from dither.training.progress import ProgressBar

HERE = Path(__file__).parent
FIGURES = HERE / "figures"
RESULTS = HERE / "results"


def run(what: str, changes: Sequence[str] = ()) -> dither.Result:
    """Train a preset with changed settings."""
    specification = dither.read_specification(what, changes)
    with warnings.catch_warnings(), ProgressBar(specification.name) as bar:
        warnings.simplefilter("ignore", TrapWarning)
        return specification.train(observers=[bar])


def reached(result: dither.Result) -> list[int | None]:
    """The measurements of each replica to the target score, None if not reached."""
    return [
        int(r.ledger["measurements"]) if r.stop_reason == "score" else None for r in result.replicas
    ]


def median_interval(counts: Sequence[int | None], seed: int = 0) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval; runs that missed the target are infinite."""
    values = np.array([np.inf if count is None else count for count in counts])
    draws = np.random.default_rng(seed).choice(values, (10_000, len(values)))
    medians = np.sort(draws, axis=1)[:, len(values) // 2]
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return float(np.sort(values)[len(values) // 2]), float(low), float(high)


def save_table(name: str, table: object) -> None:
    """Store a table as JSON in the results folder."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(table, indent=1).replace("Infinity", "null")
    (RESULTS / f"{name}.json").write_text(text + "\n")


SEEDS, FIRST = 9, 100
"""Device instances of a preset that has fewer, and the seed of the first instance.

No preset was tuned on these instances.
"""
SLOW = ("fashion-mnist-cnn",)
"""Presets that take minutes per instance and are run with their own number of replicas."""


def presets(names: Sequence[str] = ()) -> None:
    """Draw the expected training curves of all presets, or of the named presets."""
    there = RESULTS / "presets.json"
    table = json.loads(there.read_text()) if names and there.exists() else {}
    for name in names or preset_names():
        specification = dither.read_specification(name)
        few = specification.replicas < SEEDS and name not in SLOW
        result = run(name, [f"seed={FIRST}", f"replicas={SEEDS}"] if few else [])
        save_figure(run_figure(result, name, specification.until.score), FIGURES / "presets" / name)
        table[name] = {
            "replicas": len(result.replicas),
            "score": result.score,
            "reached": sum(count is not None for count in reached(result)),
            "measurements": median_interval(reached(result)),
            "runs": reached(result),
        }
        save_table("presets", dict(sorted(table.items())))
    write_preset_table()


def write_preset_table() -> None:
    """Write the Markdown table of the presets' results."""
    table = json.loads((RESULTS / "presets.json").read_text())
    lines = [
        "| preset | instances | reached the target | measurements: median (95 %) | final score |",
        "|---|---|---|---|---|",
    ]
    for name, row in table.items():
        target = dither.read_specification(name).until.score
        arrived = f"{row['reached']} ({target:g})" if target is not None else "no target"
        median, low, high = ("–" if x is None else count(x) for x in row["measurements"])
        if row["replicas"] > 1 and row["reached"]:
            median += f" ({low} – {high})"
        lines.append(f"| {name} | {row['replicas']} | {arrived} | {median} | {row['score']:.4f} |")
    (RESULTS / "presets.md").write_text("\n".join(lines) + "\n")


def demo() -> None:
    """Make the figure of `make demo`."""
    subprocess.run([sys.executable, HERE.parent / "examples" / "demo.py"], check=True)
    latest = max(Path("runs").glob("demo-*"), key=lambda path: path.stat().st_mtime)
    shutil.copy(latest / "demo.png", FIGURES / "demo.png")
    result = json.loads((latest / "result.json").read_text())
    save_table("demo", {key: result[key] for key in ("score", "stop_reason", "ledger")})


CODES = ("sequential", "rademacher", "walsh", "sinusoidal")
RATES = (0.3, 0.7, 1.0, 2.0, 3.0)


LASTING = 10
"""Consecutive error-free evaluations required of a solution, to exclude accidental ones."""


def lasting(result: dither.Result) -> list[int | None]:
    """Each replica's measurements to the first of LASTING consecutive error-free evaluations."""
    found: list[int | None] = []
    for _, rows in result.history.groupby("replica"):
        solved = (rows["score"] == 1).to_numpy()
        runs = np.lib.stride_tricks.sliding_window_view(solved, LASTING).all(axis=1)
        first = int(np.argmax(runs))
        found.append(int(rows["measurements"].iloc[first]) if runs.any() else None)
    return found


def codes() -> None:
    """Compare the codes on XOR and parity4, with equally tuned learning rates."""
    table = []
    for task, length in (("xor", 50_000), ("parity4", 150_000)):
        for code in CODES:
            tried = []
            for rate in RATES:
                setting = [
                    f"algorithm.code={code}",
                    f"algorithm.learning_rate={rate}",
                    f"until.measurements={length}",
                    "until.confirm=1000000",  # never: every replica runs to the end
                ]
                counts = lasting(run(task, setting))
                solved = sum(count is not None for count in counts)
                tried.append((-solved, median_interval(counts), rate, solved, len(counts)))
            _, (median, low, high), rate, solved, seeds = min(tried)
            row = {"task": task, "code": code, "learning_rate": rate, "solved": solved}
            table.append({**row, "seeds": seeds, "median": median, "low": low, "high": high})
            save_table("codes", table)
    heading = "| task | code | best learning rate | solved | measurements: median (95 %) |"
    lines = [heading, "|---|---|---|---|---|"]
    lines += [
        f"| {r['task']} | {r['code']} | {r['learning_rate']:g} | {r['solved']} of {r['seeds']} | "
        f"{r['median']:.0f} ({r['low']:.0f} – {r['high']:.0f}) |"
        for r in table
    ]
    (RESULTS / "codes.md").write_text("\n".join(lines) + "\n")


def tau_theta() -> None:
    """The time to solve NIST7x7 against the update period, each at its tuned learning rate."""
    periods = (1, 3, 10, 30, 100, 220, 1000, 3000, 10_000)
    factors = (0.02, 0.05, 0.1, 0.2, 0.4)
    size, rows = 220, []
    for period in periods:
        most = max(200_000, 400 * period)
        tried = []
        for factor in factors:
            # averaging the estimate increases the largest stable step: 1 / (1 + (P - 1) / T)
            rate = factor * size / (1 + (size - 1) / period)
            every = max(500, 2 * period)
            setting = [
                f"algorithm.learning_rate={rate}",
                f"algorithm.tau_theta={period}",
                f"until.measurements={most}",
                f"score_every={every}",
                "replicas=16",
            ]
            counts = reached(run("nist7x7", setting))
            solved = sum(count is not None for count in counts)
            tried.append((median_interval(counts), rate, solved))
        (median, low, high), rate, solved = min(tried)
        rows.append(
            {"tau_theta": period, "learning_rate": rate, "solved": solved, "seeds": 16,
             "median": median, "low": low, "high": high}
        )  # fmt: skip
        save_table("tau_theta", rows)
    draw_tau_theta(rows, size)


def draw_tau_theta(rows: Sequence[dict[str, Any]], size: int) -> None:
    """Draw the figure of `tau_theta` from its table."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.4), layout="constrained")
        axes = figure.subplots()
        x = np.array([row["tau_theta"] for row in rows])
        y, low, high = (np.array([row[k] for row in rows]) for k in ("median", "low", "high"))
        axes.errorbar(
            x, y, (y - low, high - y), fmt="o", color=BLUE, capsize=3, label="median, 95 % interval"
        )
        flat = np.median(y[x <= 30])
        axes.plot(x, flat * (1 + x / size), color=ORANGE, label="proportional to 1 + tau_theta / P")
        axes.axvline(size, color=GREY, linestyle="--", linewidth=1)
        axes.annotate("P = 220", (size, axes.get_ylim()[1]), xytext=(4, -12),
                      textcoords="offset points", color=GREY)  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel="tau_theta: perturbations per update",
            ylabel="measurements to 95 % on NIST7x7\n(best of five learning rates)",
        )  # fmt: skip
        axes.legend()
    save_figure(figure, FIGURES / "tau_theta")


CODES_DRAWN = {"rademacher": BLUE, "walsh": ORANGE}
"""The codes of the angle figure, with their colours."""


def cosine() -> None:
    """Compare the angle between the averaged estimate and the gradient with the law."""
    import jax.numpy as jnp

    from dither.laws import cosine as law
    from dither.training.fused import Carry, Tally, measure_once

    setting = dither.read_specification("nist7x7", ["task.batch=64"])
    data, device = setting.task.load(), setting.device
    few = dither.make_task(
        *(np.asarray(x)[::80] for x in (data.inputs, data.targets)),
        *(np.asarray(x) for x in (data.test_inputs, data.test_targets)),
    )
    theta = device.initial(jax.random.key(1))
    gradient = np.asarray(jax.grad(lambda t: jnp.mean(
        few.cost(device.network(device.space.unravel(t), few.inputs), few.targets)))(theta)
    )  # fmt: skip
    size, rows = theta.size, []
    for code in CODES_DRAWN:
        algorithm = dither.WeightMGD(
            learning_rate=0, delta=0.01, pairs="central", tau_x=10**9, tau_theta=10**9, code=code
        )

        def average(key, n, algorithm=algorithm):
            carry = Carry(
                algorithm.init(key, theta, problem_of(device, few)),
                device.fabricate(key), key, Tally.empty(),
            )  # fmt: skip
            return jax.lax.fori_loop(
                0, 2 * n, lambda _, now: measure_once(algorithm, device, few, now)[0], carry
            ).algorithm.gradient

        averages = jax.jit(jax.vmap(average, in_axes=(0, None)))
        for ticks in (10, 30, 100, 256, 1000, 10_000):
            keys = jax.random.split(jax.random.key(0), max(8, min(400, 20_000 // ticks)))
            found = np.asarray(averages(keys, ticks))
            angle = found @ gradient
            angle = angle / np.linalg.norm(found, axis=1) / np.linalg.norm(gradient)
            rows.append(
                {"code": code, "T": ticks, "measured": float(angle.mean()),
                 "error": float(angle.std() / len(keys) ** 0.5), "law": law(size - 1, ticks)}
            )  # fmt: skip
            save_table("cosine", rows)
    draw_cosine(rows, size)


def draw_cosine(rows: Sequence[dict[str, Any]], size: int) -> None:
    """Draw the figure of `cosine` from its table."""
    from dither.laws import cosine as law

    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.2), layout="constrained")
        axes = figure.subplots()
        line = np.geomspace(10, 10_000)
        axes.plot(line, [law(size - 1, t) for t in line], color=GREY,
                  label="predicted for random signs: 1 / √(1 + (P − 1) / T)")  # fmt: skip
        for code, colour in CODES_DRAWN.items():
            mine = [row for row in rows if row["code"] == code]
            axes.errorbar(
                [r["T"] for r in mine], [r["measured"] for r in mine],
                [2 * r["error"] for r in mine], fmt="o", color=colour, label=f"{code}, measured",
            )  # fmt: skip
        axes.set(xscale="log", ylim=(0, 1.03), xlabel="T: perturbations averaged",
                 ylabel="cosine of estimate and gradient")  # fmt: skip
        axes.legend()
    save_figure(figure, FIGURES / "cosine")


def notebook() -> None:
    """Make the figures of the notebooks."""
    for name in ("readout_notebook", "node_notebook"):
        script = HERE.parent / "examples" / f"{name}.py"
        subprocess.run([sys.executable, script, FIGURES], check=True)
        (FIGURES / f"{name}.json").replace(RESULTS / f"{name}.json")


def sizes() -> None:
    """Count the parameters of the networks named in README and on the pages."""
    cnn = dither.read_specification("fashion-mnist-cnn-node").device.network
    networks = {"784-32-10": dither.MLP(widths=(784, 32, 10)), "cnn, d = 4": cnn}
    key = jax.random.key(0)
    save_table("sizes", {
        name: sum(leaf.size for leaf in jax.tree.leaves(network.init(key)))
        for name, network in networks.items()
    })  # fmt: skip


def bits() -> None:
    """Compare the measurements and the energy of three rules at four DAC resolutions."""
    study = HERE.parent / "examples" / "rules-at-bits.toml"
    with TemporaryDirectory() as folder:
        runs = run_study(read_study(study), Path(folder) / "study")
    rows = []
    for (width, rule), cell in runs.groupby(["device.imperfections.0.bits", "rule"], sort=False):
        found = median_with_interval(cell["measurements"], ~cell["reached"])
        rows.append(
            {"bits": int(width), "rule": rule, "seeds": len(cell), "measurements": found.value,
             "low": found.low, "high": found.high, "joules": float(cell["joules"].median())}
        )  # fmt: skip
    save_table("rules_at_bits", rows)
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    lines = ["| bits | " + " | ".join(rules) + " |", "| --- " * (1 + len(rules)) + "|"]
    for width in dict.fromkeys(row["bits"] for row in rows):
        cells = [
            f"{count(row['measurements'])} ({count(row['low'])} – "
            f"{count(row['high']) if np.isfinite(row['high']) else '∞'}), "
            f"{1e6 * row['joules']:.1f} µJ"
            for row in rows
            if row["bits"] == width
        ]
        lines.append(f"| {width} | " + " | ".join(cells) + " |")
    (RESULTS / "rules_at_bits.md").write_text("\n".join(lines) + "\n")


def physics() -> None:
    """Draw the solution found by the preset `poisson` and the exact solution."""
    specification = dither.read_specification("poisson", ["until.score=0.9999", "replicas=1"])
    task = specification.task
    with ProgressBar(specification.name) as bar:
        result = specification.train(observers=[bar])
    x = np.linspace(-1, 1, 401)[:, None]
    u, exact = result.predict(x)[:, 0], task.solution(x)
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3), layout="constrained")
        both, error = figure.subplots(1, 2)
        both.plot(x, exact, color=GREY, label="exact", linewidth=3)
        both.plot(x, u, color=BLUE, label="trained")
        both.set(xlabel="x", ylabel="u")
        both.legend()
        error.plot(x, u - exact, color=ORANGE)
        relative = np.linalg.norm(u - exact) / np.linalg.norm(exact)
        error.set(xlabel="x", ylabel="error", title=f"relative L2 error {100 * relative:.2g} %")
    save_figure(figure, FIGURES / "poisson")


MAKERS = {
    "sizes": sizes,
    "bits": bits,
    "notebook": notebook,
    "cosine": cosine,
    "demo": demo,
    "codes": codes,
    "tau_theta": tau_theta,
    "presets": presets,
    "physics": physics,
}


def main() -> None:
    """Make the parts named on the command line, or all of them."""
    use_all_cores()
    (FIGURES / "presets").mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or MAKERS:
        if name in MAKERS:
            MAKERS[name]()
        else:
            presets([name])


if __name__ == "__main__":
    main()
