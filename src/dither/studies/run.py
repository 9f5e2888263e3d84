"""`run_study`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from dither._errors import RequestError
from dither._platform import check_platform
from dither._words import count
from dither.studies import store
from dither.studies.cluster import work_on_cluster
from dither.studies.installed import check_installed
from dither.studies.local import StudyObserver, work
from dither.studies.processes import work_in_processes
from dither.studies.study import MOST_RUNS, Study, read_study


def run_study(
    study: Study | str | Path,
    out: str | Path | None = None,
    *,
    workers: int = 1,
    cluster: str | None = None,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
    yes: bool = False,
) -> pd.DataFrame:
    """Run the missing runs of a study; the result does not depend on who runs them.

    Arguments:
        study: a `Study`, or its TOML file or folder.
        out: its folder, by default `studies/NAME`; if it holds this study, the study continues.
        workers: the number of local processes; 1 is this process itself.
        cluster: the address of a Dask scheduler whose workers run the study instead.
        observers: functions called with a `StudyProgress` several times per second.
        interrupted: a function called several times per second to ask whether to stop.
        yes: whether to allow a grid of more than 100 000 runs.

    Returns: the table, as from `load_study`.
    Errors: `RequestError`, before anything is run, for an invalid grid, run or folder;
    `Interrupted` if it was asked to stop, after which a later call continues.
    """
    check_platform()
    study = study if isinstance(study, Study) else read_study(study)
    check_size(study, yes)
    folder = Path("studies") / study.name if out is None else Path(out)
    check_installed(study, cluster)  # this also validates all cells before the folder is made
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    begun = (folder / store.SPECIFICATION).is_file()
    study = store.open_study(folder, study)
    for name in store.set_damaged_aside(folder):
        warnings.warn(
            f"{store.RUNS}/{name} is damaged; it was moved to {folder / store.DAMAGED}, and its "
            "run is repeated.",
            store.DamagedFileWarning,
            stacklevel=2,
        )
    try:
        if cluster is not None:
            work_on_cluster(folder, study, cluster, observers, interrupted)
        elif workers > 1:
            work_in_processes(folder, study, workers, observers, interrupted)
        else:
            work(folder, study, observers, interrupted)
    except RequestError:
        if not begun:
            store.forget(folder, new)
        raise
    finally:
        store.tidy(folder)
    return store.load_study(folder)


def check_size(study: Study, yes: bool) -> None:
    """Check that a large grid is confirmed. Errors: `RequestError`."""
    if study.runs > MOST_RUNS and not yes:
        axes = [f"{len(study.labels(axis))} of {axis}" for axis in study.axes]
        grid = " × ".join([*axes, f"{len(study.seed_list)} seeds"])
        raise RequestError(f"The grid has {count(study.runs)} runs ({grid}); add --yes to run it.")
