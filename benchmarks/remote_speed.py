"""Time a device behind a socket on this machine: `python benchmarks/remote_speed.py`.

The device has 220 parameters and does nothing, so that only the communication is timed. The rates
are medians and quantiles over calls. Other work on the machine mostly affects the slow calls.
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

PARAMETERS, FEATURES, BLOCK = 220, 49, 64

LAB = f"""
import numpy as np
ZEROS = np.zeros((1, 4))
class Nothing:
    parameters, bounds = {PARAMETERS}, (-1.0, 1.0)
    def write(self, theta):
        pass
    def measure(self, inputs):
        return ZEROS
    def safe(self):
        pass
"""


def serve(folder: Path, lab: str, *more: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server in a separate process, and return the process and its address."""
    (folder / "lab.py").write_text(lab)
    name = lab.rpartition("class ")[2].split(":")[0].split("(")[0]
    process = subprocess.Popen(
        [sys.executable, "-m", "dither.remote", f"lab.py:{name}", "--listen", "127.0.0.1:0", *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().rpartition("remote://")[2].strip()


def timed(call: Any, calls: int, each: int) -> dict[str, float]:
    """Return the measurements per second.

    The rates are those of the median call, of the fastest tenth of the calls, and of all calls
    together.
    """
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return {
        "calls": calls,
        "median_per_second": each / float(np.median(seconds)),
        "fast_tenth_per_second": each / float(np.quantile(seconds, 0.1)),
        "all_per_second": each * calls / sum(seconds),
    }


def main() -> None:
    """Time single measurements and blocks of 64, and print one JSON object."""
    from dither.remote.client import RemoteObject

    rng = np.random.default_rng(0)
    found: dict[str, Any] = {"parameters": PARAMETERS, "block_size": BLOCK}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process, address = serve(folder, LAB)
        remote = RemoteObject(address, token_file=folder / "dither-token")
        for what, size, calls in (("single", 1, 3000), ("block", BLOCK, 600)):
            settings = rng.uniform(-1, 1, (size, PARAMETERS))
            inputs = rng.uniform(0, 1, (size, 1, FEATURES)).astype(np.float32)
            targets = np.zeros((size, 1, 4), np.float32)

            def call(block: Any = (settings, inputs, targets)) -> None:
                assert len(list(remote.measure_block(*block))) == len(block[0])

            for _ in range(20):
                call()
            found[what] = timed(call, calls, size)
        remote.safe()
        remote.close()
        process.terminate()
        assert process.wait(20) == 0
    found["cores"], found["load"] = os.cpu_count(), round(os.getloadavg()[0], 1)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
