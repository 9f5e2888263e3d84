"""A lab notebook: check and train a chip behind a socket, and pull its cable during training.

`bench_notebook.py [FOLDER]` starts the bench of `scpi_bench.py` in a separate process, runs the
commands of dither and prints their output. It pulls the cable for five seconds in one run and for
longer in another, then draws the notebook's figures. The run takes two minutes. It needs
dither[scpi].
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from dither.training.drawing import BLUE, GREY, ORANGE, STYLE, save_figure

HERE = Path(__file__).parent
AIM = 0.9
SHORT = 5.0  # seconds
EVERY = 200  # measurements between evaluations
PULLED_AT = 800


class Bench:
    """The simulated instrument in a separate process, on a free port, with its cable."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "scpi_bench.py"), "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.greeting = self.process.stdout.readline().strip()
        self.port = self.greeting.rstrip(".").rpartition(":")[2]

    def cable(self, word):
        """Pull the cable or plug it in."""
        print(f"    {word}")
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def dither(folder, *words):
    """Start a dither command."""
    print("\n$ dither", *words)
    return subprocess.Popen(
        [sys.executable, "-m", "dither.cli", *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process):
    """Print the output of a command and return its exit status."""
    said = process.communicate()[0]
    print(said.rstrip())
    if process.returncode:
        print(f"(exit status {process.returncode})")
    return process.returncode


def checked(folder, port):
    """Run `dither device check` on the file of the bench."""
    text = (HERE / "bench.toml").read_text().replace("::5025::", f"::{port}::")
    (folder / "bench.toml").write_text(text)
    assert ended(dither(folder, "device", "check", "bench.toml", "--toml", "chip.toml")) == 0


def trained(folder, out, *words):
    """Start a training from the file that the check has written."""
    often = ("--set", f"score_every={EVERY}", "--set", f"until.score={AIM}")
    return dither(folder, "train", "chip.toml", *often, "--out", out, *words)


def watched(process, folder, seen, act=lambda _: None):
    """Poll the progress of a run every tenth of a second until it ends.

    `act` is called with the number of measurements.
    """
    while process.poll() is None:
        time.sleep(0.1)
        try:
            at = json.loads((folder / "progress.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # not started, or finished
        seen.append((time.monotonic(), at["measurements"], at["score"]))
        act(at["measurements"])
    return ended(process)


def midway(at):
    """Whether to pull the cable now: well before the next evaluation."""
    return at >= PULLED_AT and at % (EVERY + 10) < EVERY / 2


class Pull:
    """Pull the cable during a run and, if requested, plug it in again after some seconds."""

    def __init__(self, bench, seconds=float("inf")):
        self.bench, self.seconds = bench, seconds
        self.moments, self.at = [], 0

    def __call__(self, at):
        if midway(at) and not self.moments:
            self.at = at
            self.move("pull")
        elif len(self.moments) == 1 and time.monotonic() > self.moments[0] + self.seconds:
            self.move("plug")

    def move(self, word):
        self.moments.append(time.monotonic())
        self.bench.cable(word)


def short_pull(folder, bench):
    """Pull the cable and plug it in again: the run waits and continues by itself."""
    seen, pull = [], Pull(bench, SHORT)
    assert watched(trained(folder, "short"), folder / "short", seen, pull) == 0
    return seen, pull.moments, pull.at


def long_pull(folder, bench):
    """Leave the cable unplugged: the run gives up and is resumed after a coffee."""
    seen, pull = [], Pull(bench)
    few = ("--set", "until.failures=5")
    assert watched(trained(folder, "long", *few), folder / "long", seen, pull) == 1
    time.sleep(3.0)
    pull.move("plug")
    assert watched(trained(folder, "long", *few, "--resume"), folder / "long", seen) == 0
    return seen, pull.moments, pull.at


def drawn(folder, short, long):
    """Draw accuracy against measurements, and measurements against elapsed time."""
    by_count = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = by_count.subplots()
    for out, colour, label in (
        ("undisturbed", GREY, "undisturbed"),
        ("short", BLUE, f"cable out for {SHORT:g} s"),
        ("long", ORANGE, "given up and resumed"),
    ):
        history = pd.read_parquet(folder / out / "history.parquet")
        axes.plot(history["measurements"], history["score"], "o-", color=colour, label=label)
    for (_, _, pulled_at), colour in ((short, BLUE), (long, ORANGE)):
        axes.axvline(pulled_at, color=colour, linewidth=1, linestyle=":")
    axes.annotate("pulled", (max(short[2], long[2]), 0.3), (4, 0), textcoords="offset points")
    axes.axhline(AIM, color="black", linewidth=0.5)
    axes.set(xlabel="measurements, failed ones included", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    by_clock = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = by_clock.subplots()
    for (seen, (pulled, plugged), _), colour, label in (
        (short, BLUE, f"cable out for {SHORT:g} s"),
        (long, ORANGE, "given up and resumed"),
    ):
        begin = seen[0][0]
        axes.axvspan(pulled - begin, plugged - begin, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            [at - begin for at, *_ in seen], [n for _, n, _ in seen], color=colour, label=label
        )
    axes.set(xlabel="seconds on the clock", ylabel="measurements", xlim=(0, None))
    axes.legend(loc="lower right")
    return {"count": by_count, "clock": by_clock}


def main():
    """Run the commands and write the figures."""
    figures = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench")
    figures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, Bench() as bench:
        folder = Path(name)
        print(bench.greeting)
        checked(folder, bench.port)
        print((folder / "chip.toml").read_text().partition("[device.guard]")[2])
        assert ended(trained(folder, "undisturbed")) == 0
        short, long = short_pull(folder, bench), long_pull(folder, bench)
        for out in ("undisturbed", "short", "long"):
            ledger = json.loads((folder / out / "result.json").read_text())["ledger"]
            print(out, {name: ledger[name] for name in ("measurements", "failed", "writes")})
        with rc_context(STYLE):
            for name, figure in drawn(folder, short, long).items():
                save_figure(figure, figures / f"bench-{name}")
    print(f"figures: {figures}")


if __name__ == "__main__":
    main()
