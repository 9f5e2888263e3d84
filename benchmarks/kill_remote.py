"""SIGKILL at random moments of a run on a served device.

`python benchmarks/kill_remote.py [KILLS [MEASUREMENTS]]`.

A trainer on a noiseless device behind a socket is killed again and again, and resumed each time
once the random moment has passed. At the end: is the result that of the undisturbed run, how much
was lost at each kill, what does the server's own record say. Prints one JSON object.

Each start of a trainer imports JAX, several seconds; 100 kills take about a quarter of an hour.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remote_speed import serve

CHECKPOINT_SECONDS = 0.5

LAB = """
import numpy as np
class Chip:
    parameters, bounds = 220, (-2.0, 2.0)
    initial = np.random.default_rng(0).uniform(-0.5, 0.5, 220)
    written = outside = 0
    def write(self, theta):
        Chip.written += 1
        Chip.outside += bool(np.abs(theta).max() > 2.0)
        self.theta = theta
    def measure(self, inputs):
        b, w, c, v = np.split(self.theta, [4, 200, 204])
        hidden = 1 / (1 + np.exp(-(inputs.reshape(-1, 49) @ w.reshape(49, 4) + b)))
        return 1 / (1 + np.exp(-(hidden @ v.reshape(4, 4) + c)))
    def safe(self):
        with open("device.json", "w") as file:
            file.write('{"written": %d, "outside": %d}' % (Chip.written, Chip.outside))
"""

TRAINER = """
import sys
import time
import dither
from dither.devices import RemoteDevice
from dither.tasks import NIST7x7
device, out, measurements = sys.argv[1:]
if device.startswith("remote://"):
    device = RemoteDevice(address=device.removeprefix("remote://"), token_file="dither-token")
last = 0.0
def tell(progress):
    global last
    if time.monotonic() > last + 0.1:
        last = time.monotonic()
        print(progress.measurements, time.time(), flush=True)
import os
result = dither.train(
    device, NIST7x7(), dither.WeightMGD(
        learning_rate=0.2, delta=0.01, tau_theta=640, pairs="central", code={"kind": "walsh"}
    ),
    until=dither.Until(measurements=int(measurements)), score_every=2560,
    checkpoint_seconds=%r, out=out, resume=os.path.exists(out), observers=[tell],
)
print("done", result.score, flush=True)
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A trainer, as a process."""
    return subprocess.Popen(
        [sys.executable, "-c", TRAINER % CHECKPOINT_SECONDS, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )


def checkpoint(file: Path) -> tuple[int, float]:
    """The measurements that a checkpoint holds, and its age in seconds."""
    if not file.exists():
        return 0, 0.0
    with np.load(file) as arrays:
        names = ("array.ledger.measurements", "array.partial.measurements")
        measured = sum(int(arrays[name].sum()) for name in names)
    return measured, time.time() - file.stat().st_mtime


def main(kills: int, measurements: int) -> None:
    """Kill and resume, then compare."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, address = serve(folder, LAB, "--record", "record", "--lease", "5")
        killed, lost, errors = 0, [], 0
        ages: list[float] = []
        saved, back = 0, True
        reached, score = 0, None
        while score is None:
            trainer = start(folder, f"remote://{address}", "far", str(measurements))
            assert trainer.stdout is not None
            moment: float | None = None
            first, seen = None, (0, 0.0)
            for line in trainer.stdout:
                if line.startswith("done"):
                    score = float(line.split()[1])
                    break
                seen = (int(line.split()[0]), float(line.split()[1]))
                if first is None:
                    first = seen
                    back = back and first[0] >= saved
                    if reached:
                        lost.append(max(0, reached - first[0]))
                    moment = time.time() + rng.uniform(0.0, 3.0) if killed < kills else None
                if moment is not None and time.time() > moment:
                    trainer.kill()
                    break
            trainer.communicate()
            if score is None:
                if moment is None:
                    errors += 1
                    assert errors < 5, "the trainer ends by itself"
                killed += 1
                reached = seen[0]
                saved, age = checkpoint(folder / "far" / "checkpoint" / "state.npz")
                ages.append(age)
        near = start(folder, "lab.py:Chip", "near", str(measurements))
        near.communicate()
        # every start takes one measurement for its self-test, so the ends are not quite at the same
        # place; the evaluations on the way are
        one, two = (
            pd.read_parquet(folder / out / "history.parquet")[["test_cost", "score"]]
            for out in ("far", "near")
        )
        common = min(len(one), len(two)) - 1
        server.terminate()
        server.wait(20)
        lines = [json.loads(line) for line in (folder / "record").read_text().splitlines()]
        account: dict[str, Any] = next(x for x in lines[::-1] if x["event"] == "account")
        device = json.loads((folder / "device.json").read_text())
    found = {
        "kills": killed,
        "starts_that_failed": errors,
        "measurements": measurements,
        "evaluations_compared": common,
        "same_as_undisturbed": bool(one[:common].equals(two[:common])),
        "score": score,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "resumed_from_the_last_checkpoint": back,
        "age_of_checkpoint_longest_s": round(max(ages, default=0.0), 2),
        "lost_measurements_median": float(np.median(lost)) if lost else None,
        "lost_measurements_most": max(lost, default=None),
        "record_writes": account["writes"],
        "record_refused": account["refused"],
        "record_least": min(account["least"]),
        "record_greatest": max(account["greatest"]),
        "bounds": [-2.0, 2.0],
        "leases_lost": sum(line["event"] == "lost" for line in lines),
        "safe_states": account["safe_states"],
        "load": round(os.getloadavg()[0], 1),
    }
    found["device_written_last_told"] = device
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], "100", "1000000"][:2]))
