"""Start-up time of dither: imports, a first training run, and a study from the shell."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = """name = "seeds"
base = "nist7x7"
seeds = 64
"""
"""One image of a letter per measurement, with 64 seeds trained to 95 %."""


def _cpu(command: list[str], cache: str | None = None, times: int = 3) -> float:
    """Return the processor time of a command in seconds, as the minimum over `times` runs.

    A first run, which is not counted, compiles Python's bytecode. `cache` is the folder of JAX's
    compiled programs. If it is None, every run begins with an empty folder.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    took = []
    for _ in range(times + 1):
        with tempfile.TemporaryDirectory() as folder:
            environment |= {
                "JAX_COMPILATION_CACHE_DIR": cache or folder + "/compiled",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            (Path(folder) / "study.toml").write_text(STUDY)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took[1:])


def seconds() -> dict[str, float]:
    """Return the processor time of each kind of start in seconds."""
    python = sys.executable
    jax = _cpu([python, "-c", "import jax, jax.numpy"])
    shell = [python, "-m", "dither.cli"]
    with tempfile.TemporaryDirectory() as cache:
        return {
            "import dither.training, beyond JAX": _cpu([python, "-c", "import dither.training"])
            - jax,
            "dither --help": _cpu([*shell, "--help"]),
            "train xor, nothing compiled": _cpu([*shell, "train", "xor"]),
            "train xor, compiled before": _cpu([*shell, "train", "xor"], cache),
            "study of 64 seeds of nist7x7, nothing compiled": _cpu([*shell, "study", "study.toml"]),
            "study of 64 seeds of nist7x7, compiled before": _cpu(
                [*shell, "study", "study.toml"], cache
            ),
        }
