"""Studies on a Dask cluster, whose workers may die; the recipe for Slurm."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from dither import RequestError
from dither.studies import run_study, store

STUDY = """
name = "clustered"
base = "parity4"
seeds = 12
at_once = 6

[set]
"until.measurements" = 400
"until.score" = 0.9
score_every = 100

[axes.bits]
"task.bits" = [2, 3, 4]
"device.network.widths" = [[2, 4, 1], [3, 6, 1], [4, 8, 1]]
"""

SCORES = ["run", "seed", "score", "test_cost", "stop_reason", "measurements"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process."""
    address = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    where = ["--scheduler-file", str(address)]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1", *where],
        **quiet,
    )
    worker = [*dask, "worker", *where, "--no-nanny", "--nthreads", "1", "--no-dashboard",
              "--local-directory", str(tmp_path)]  # fmt: skip
    workers = [subprocess.Popen(worker, **quiet) for _ in range(2)]
    try:
        # the file exists before its text does
        while not address.exists() or not address.stat().st_size:
            time.sleep(0.1)
        yield json.loads(address.read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_a_worker_is_killed_and_the_study_ends_complete(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, workers = cluster
    file = tmp_path / "clustered.toml"
    file.write_text(STUDY)
    folder = tmp_path / "out"

    def kill_after_the_first_run() -> None:
        while not store.done(folder):
            time.sleep(0.05)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_the_first_run, daemon=True)
    killer.start()
    table = run_study(file, folder, cluster=address)
    killer.join(10)
    assert workers[0].wait(10) == -signal.SIGKILL
    assert len(table) == 36
    alone = run_study(file, tmp_path / "alone")
    pd.testing.assert_frame_equal(table[SCORES], alone[SCORES], check_exact=True)


def test_no_scheduler_is_said_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "clustered.toml"
    file.write_text(STUDY)
    with pytest.raises(RequestError, match="No Dask scheduler answers at"):
        run_study(file, tmp_path / "out", cluster="tcp://127.0.0.1:9")


SBATCH = """#!/bin/sh
# plays Slurm: runs the job script that it is given, in the background, and tells its number
for script; do :; done
cp "$script" "{folder}/job.sh"
setsid sh "{folder}/job.sh" > "{folder}/job.log" 2>&1 &
echo $! >> "{folder}/jobs"
echo "$!"
"""

SCANCEL = """#!/bin/sh
for job in "$@"; do kill -9 -- "-$job" 2>/dev/null; done
exit 0
"""


@pytest.mark.long
def test_the_recipe_for_slurm(tmp_path: Path) -> None:
    """The documented script, with Slurm's two commands played by shell scripts."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tools / name).write_text(text.replace("{folder}", str(tmp_path)))
        (tools / name).chmod(0o755)
    file = tmp_path / "clustered.toml"
    file.write_text(STUDY)
    recipe = Path(__file__).parents[1] / "examples" / "slurm_study.py"
    done = subprocess.run(
        [sys.executable, str(recipe), str(file), str(tmp_path / "out"), "1"],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "36 runs" in done.stdout
    script = (tmp_path / "job.sh").read_text()
    assert "#SBATCH -t 04:00:00" in script
    for job in (tmp_path / "jobs").read_text().split():
        deadline = time.monotonic() + 20
        while _runs(int(job)):
            assert time.monotonic() < deadline, "a worker was left running"
            time.sleep(0.1)


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
