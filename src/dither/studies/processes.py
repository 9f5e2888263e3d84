"""Running a study in several local processes."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dither._errors import RequestError, RunError
from dither.studies.local import Counter, StudyObserver
from dither.studies.plan import plan
from dither.studies.study import Study
from dither.studies.together import Interrupted

LOOK_EVERY = 0.3
PATIENCE = 30.0
"""The time for a process to write its checkpoint before it is killed, s."""


def work_in_processes(
    folder: Path,
    study: Study,
    workers: int,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Run the missing runs of a study in several processes, each taking one job after another.

    Errors: `Interrupted`; `RunError` if no process is left and the study is incomplete.
    """
    count = Counter(folder, plan(study), observers)
    command = [sys.executable, "-m", "dither.studies", str(folder)]
    with tempfile.TemporaryFile("w+") as said:
        running = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
            for _ in range(workers)
        ]
        try:
            while any(process.poll() is None for process in running):
                if interrupted():
                    raise Interrupted
                count(f"{workers} processes")
                time.sleep(LOOK_EVERY)
        finally:
            _end(running)
        now = count()
        if now.done < now.runs:
            said.seek(0)
            last = (said.read().strip() or "All processes were killed.").splitlines()[-1]
            wrong = any(process.returncode == 2 for process in running)
            raise (RequestError if wrong else RunError)(last.removeprefix("dither: "))


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
