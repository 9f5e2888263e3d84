"""How long it takes until dither works: imports, and a first training from the shell."""

import resource
import subprocess
import sys
import tempfile


def _cpu(command: list[str], times: int = 3) -> float:
    """Seconds of processor time, the least of some runs."""
    took = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)


def seconds() -> dict[str, float]:
    """Processor time of each kind of start."""
    python = sys.executable
    jax = _cpu([python, "-c", "import jax, jax.numpy"])
    return {
        "import dither.training, beyond JAX": _cpu([python, "-c", "import dither.training"]) - jax,
        "dither --help": _cpu([python, "-m", "dither.cli", "--help"]),
        "train xor": _cpu([python, "-m", "dither.cli", "train", "xor"]),
    }
