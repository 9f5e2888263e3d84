"""Kill a run on a served device with SIGKILL at random times.

`python benchmarks/kill_remote.py [KILLS [MEASUREMENTS]]`.

A trainer on a noiseless device behind a socket is killed repeatedly, and resumed after each kill.
Four of five kills happen at a time drawn uniformly from the `WINDOW` seconds after the server has
made `BEGUN` measurements for the trainer. The others happen at a time drawn from the `WINDOW`
seconds after the trainer's start. At the end, the script compares the result with that of an
undisturbed run without the network, and reports the loss at each kill and the server's own record.
It prints one JSON object.

The trainers are forked from a process that has imported JAX but not used it, so that a start does
not wait for the import.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remote_speed import serve

CHECKPOINT_SECONDS = 0.5
WINDOW = 4.0
BEGUN = 200
BOUND = 2.0

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


def trainer(folder: Path, device: str, out: str, measurements: int) -> None:
    """Train, or resume the run if its folder exists."""
    import dither
    from dither.instruments.network import RemoteDevice
    from dither.tasks import NIST7x7

    os.chdir(folder)
    where: Any = device
    if device.startswith("remote://"):
        where = RemoteDevice(
            address=device.removeprefix("remote://"), token_file=Path("dither-token")
        )
    dither.train(
        where,
        NIST7x7(),
        dither.WeightMGD(
            learning_rate=0.2, delta=0.01, tau_theta=640, pairs="central", code={"kind": "walsh"}
        ),
        until=dither.Until(measurements=measurements),
        score_every=2560,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        out=out,
        resume=Path(out).exists(),
    )


def checkpoint(file: Path) -> tuple[int, float]:
    """Return a checkpoint's number of measurements and the time at which it was written.

    Without a checkpoint, the number is 0 and the time is the present.
    """
    if not file.exists():
        return 0, time.time()
    with np.load(file) as arrays:
        names = ("array.ledger.measurements", "array.partial.measurements")
        return sum(int(arrays[name].sum()) for name in names), file.stat().st_mtime


def made_by(address: str, token: Path) -> int:
    """Return the number of measurements that the server has made."""
    from dither.remote.client import look

    return int(look(address, token_file=token)["measurements"])


def at_rest(address: str, token: Path) -> tuple[dict[str, Any], float]:
    """Wait until no client holds the device and it is safe.

    Returns: the server's status and the seconds waited.
    """
    from dither.remote.client import look

    begin = time.monotonic()
    while (seen := look(address, token_file=token))["holder"] or not seen["safe"]:
        time.sleep(0.1)
    return seen, time.monotonic() - begin


def main(kills: int, measurements: int) -> None:
    """Kill and resume the trainer, then compare the results."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["jax", "pandas", "dither", "dither.training"])
        server, address = serve(folder, LAB, "--record", "record", "--lease", "5")
        token = folder / "dither-token"
        # run first, so that all later starts find compiled programs in the cache
        near = processes.Process(target=trainer, args=(folder, "lab.py:Chip", "near", measurements))
        near.start()
        near.join()
        saved_at = folder / "far" / "checkpoint" / "state.npz"
        killed: list[dict[str, float]] = []
        failed = done = saved = 0
        ended, last = False, 0
        while not ended:
            process = processes.Process(
                target=trainer, args=(folder, f"remote://{address}", "far", measurements)
            )
            process.start()
            if len(killed) < kills:
                if len(killed) % 5:
                    while process.is_alive() and made_by(address, token) < done + BEGUN:
                        time.sleep(0.1)
                process.join(rng.uniform(0.0, WINDOW))
                process.kill()
            moment = time.time()
            process.join()
            seen, seconds = at_rest(address, token)
            made, done = seen["measurements"] - done, seen["measurements"]
            reached, before = saved + made, saved
            saved, written = checkpoint(saved_at)
            if process.exitcode == -signal.SIGKILL:
                killed.append(
                    {
                        "made": made,
                        "gained": saved - before,
                        "lost": reached - saved,
                        "age_s": moment - written,
                        "safe_after_s": seconds,
                    }
                )
                print(len(killed), killed[-1], file=sys.stderr, flush=True)
                continue
            failed += process.exitcode != 0
            assert failed < 5, "the trainer fails without being killed"
            ended, last = process.exitcode == 0, reached
        ends = [
            json.loads((folder / out / "result.json").read_text(encoding="utf-8"))
            for out in ("far", "near")
        ]
        # every start takes one measurement for its self-test, so the two runs end at slightly
        # different points; the evaluations before the end are at the same points
        one, two = (
            pd.read_parquet(folder / out / "history.parquet")[["test_cost", "score"]]
            for out in ("far", "near")
        )
        common = min(len(one), len(two)) - 1
        server.terminate()
        server.wait(20)
        lines = [json.loads(line) for line in (folder / "record").read_text().splitlines()]
        account: dict[str, Any] = next(x for x in lines[::-1] if x["event"] == "account")
        device = json.loads((folder / "device.json").read_text(encoding="utf-8"))
    running = [kill for kill in killed if kill["made"]]
    found = {
        "kills": len(killed),
        "kills_while_measuring": len(running),
        "kills_while_measuring_after_a_checkpoint_of_that_start": sum(
            kill["gained"] > 0 for kill in running
        ),
        "starts_that_failed": failed,
        "window_s": WINDOW,
        "measurements": measurements,
        "measurements_on_the_server": done,
        "evaluations_compared": common,
        "same_as_undisturbed": bool(one[:common].equals(two[:common])),
        "scores": [end["score"] for end in ends],
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "resumed_from_the_last_checkpoint": last == ends[0]["ledger"]["measurements"]
        and min(kill["gained"] for kill in killed) >= 0,
        "age_of_checkpoint_s": _spread([kill["age_s"] for kill in running if kill["gained"] > 0]),
        "lost_measurements": _spread([kill["lost"] for kill in running]),
        "safe_after_s": _spread([kill["safe_after_s"] for kill in running]),
        "record_writes": account["writes"],
        "record_refused": account["refused"],
        "record_least": min(account["least"]),
        "record_greatest": max(account["greatest"]),
        "bounds": [-BOUND, BOUND],
        "leases_lost": sum(line["event"] == "lost" for line in lines),
        "safe_states": account["safe_states"],
        "device_written": device["written"],
        "device_written_outside": device["outside"],
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=2))


def _spread(values: list[float]) -> dict[str, float]:
    """Return the median and the maximum."""
    if not values:
        return {}
    return {"median": round(float(np.median(values)), 3), "most": round(float(max(values)), 3)}


if __name__ == "__main__":
    main(*(int(word) for word in [*sys.argv[1:], "100", "1000000"][:2]))
