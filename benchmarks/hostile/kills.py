"""Kill runs and studies with SIGKILL at random times, and resume them after each kill."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from forked import child, same, train

from dither.studies import Study, load_study, run_study
from dither.training import load_run
from dither.training.folder import SPECIFICATION

KILLS_OF_RUNS = 300
KILLS_OF_STUDIES = 20

STUDY = Study(
    name="small", base="xor", seeds=4, at_once=4,
    set={"until.measurements": 4000, "until.confirm": 100},
    axes={"algorithm.learning_rate": [0.5, 1.0], "algorithm.delta": [0.05, 0.1, 0.2]},
)  # fmt: skip
COLUMNS = ["run", "seed", "score", "stop_reason", "measurements"]


def kills_of_runs(folder: Path) -> dict[str, int | float | str]:
    """Kill runs of different seeds at random times, and resume each until it ends."""
    chance = random.Random(0)
    for measurements in (40, 80):  # compile here, so that the forks need not
        train(folder / "warm", measurements, resume=measurements > 40)
    began = time.monotonic()
    child(lambda: train(folder / "first"))
    takes = time.monotonic() - began
    kills = failed = runs = equal = left = 0
    while kills < KILLS_OF_RUNS:
        out = folder / f"run-{runs}"

        def go_on(out: Path = out, key: int = runs) -> None:
            train(out, key=key, resume=(out / SPECIFICATION).exists())

        for _ in range(200):
            status = child(go_on, chance.uniform(0.0, takes * chance.choice((0.3, 0.3, 1.0))))
            kills += status == -signal.SIGKILL
            failed += status > 0
            if status >= 0:
                break
        equal += status == 0 and same(load_run(out), train(None, key=runs))
        left += sum(path.is_file() for path in out.rglob(".*"))
        runs += 1
    return {
        "kills": kills,
        "completed runs": runs,
        "failed starts": failed,
        "results bitwise equal to the undisturbed run": f"{equal} of {runs}",
        "leftover files": left,
    }


def go_on_with_study(out: Path) -> None:
    """Complete the study in a process that has not computed anything before."""
    run_study(STUDY, out)


def kills_of_studies(folder: Path) -> dict[str, int | float | str]:
    """Kill and resume a study of 24 runs until it is complete, then repeat with another."""
    chance, processes = random.Random(0), multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["forked", "dither.studies"])
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    whole = run_study(STUDY, folder / "whole")
    kills = failed = studies = equal = 0
    while kills < KILLS_OF_STUDIES:
        out = folder / f"study-{studies}"
        for start in range(1 + KILLS_OF_STUDIES // 2):
            process = processes.Process(target=go_on_with_study, args=(out,))
            process.start()
            process.join(chance.uniform(1.0, 12.0) if start < KILLS_OF_STUDIES // 2 else None)
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
            failed += (process.exitcode or 0) > 0
            if process.exitcode == 0:
                break
        equal += process.exitcode == 0 and load_study(out)[COLUMNS].equals(whole[COLUMNS])
        studies += 1
    return {
        "kills": kills,
        "completed studies": studies,
        "failed starts": failed,
        "tables equal to the undisturbed study": f"{equal} of {studies}",
    }


ROWS = {
    "Kills of runs at random times": kills_of_runs,
    "Kills of studies at random times": kills_of_studies,
}
