"""Running a comparison: each method is tuned, then run on other seeds, in separate studies."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
import tomlkit

from dither._errors import RequestError
from dither._files import is_file, make_folder, write_atomically
from dither._platform import check_platform
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import AccessLevel, Problem
from dither.devices.device import AbstractDevice
from dither.studies.comparison import Comparison, Pairing, read_comparison
from dither.studies.job import replica_of
from dither.studies.local import StudyObserver, StudyProgress
from dither.studies.run import run_study
from dither.studies.search import FIRST_SEED, Search
from dither.studies.store import SPECIFICATION as STUDY
from dither.studies.store import load_study
from dither.studies.study import Study, read_study
from dither.training.fit import check_fit, problem_of
from dither.training.result import Replica
from dither.training.settings import setting, without_none

SPECIFICATION = "compare.toml"

NOT_YET = "not run yet"

TRIAL = "trial"
"""The axis of a tuning study."""


@dataclass(frozen=True)
class Needs:
    """The requirements of a method on the chip.

    Attributes: `access`, the level; `sources` of perturbation, one for each perturbed weight or
    neuron; `memory`, the numbers stored per weight, including the weight.
    """

    access: AccessLevel
    sources: int
    memory: float


@dataclass(frozen=True, eq=False)
class Compared:
    """The result of a pairing.

    Attributes: `why` it is impossible, None if it is possible; `chosen`, the tuned settings;
    `tuned`, the measurements of tuning; `folder`, the study of its `runs`.
    """

    pairing: Pairing
    why: str | None = None
    needs: Needs | None = None
    chosen: dict[str, Any] | None = None
    tuned: int = 0
    folder: Path | None = None
    runs: pd.DataFrame | None = None


def compare(
    asked: Comparison,
    out: str | Path,
    *,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Compared]:
    """Run the missing parts of a comparison.

    Several processes on one folder share the work. An impossible pairing, such as a method that
    needs more access than the device offers, is not an error; it is reported with its reason.

    Arguments: the comparison; its folder; `observers`, called with a `StudyProgress`;
    `interrupted`, called several times per second to ask whether to stop.
    Errors: `RequestError` for an invalid comparison, before anything is run; `Interrupted`, after
    which a later call continues.
    """
    check_platform()
    out, pairings = Path(out), asked.pairings()
    reasons = [misfit(pairing) for pairing in pairings]
    _open(out, asked)
    found: dict[int, Compared] = {}
    first = os.getpid() * 7919 % len(pairings)
    for k in [*range(first, len(pairings)), *range(first)]:
        pairing, why = pairings[k], reasons[k]
        if why is not None:
            found[k] = Compared(pairing, why)
            continue
        watch = [_watched(observers, pairing, len(pairings), len(found))]
        found[k] = _compared(asked, pairing, out, watch, interrupted)
    return [found[k] for k in range(len(pairings))]


def misfit(pairing: Pairing) -> str | None:
    """Why a pairing is impossible; None if it is possible. Errors: `RequestError`."""
    run = pairing.specification
    if not isinstance(run.device, AbstractDevice):
        raise RequestError(
            f"{pairing.device} is not a simulated device; compare needs simulated ones."
        )
    try:
        check_fit(run.device, run.device.deal(run.task.load()), run.algorithm, run.until)
    except RequestError as error:
        return str(error)
    return None


def so_far(asked: Comparison, out: str | Path) -> list[Compared]:
    """The results of a comparison so far; missing ones are reported as not run yet."""
    found = []
    for pairing in asked.pairings():
        why = misfit(pairing)
        found.append(_found(asked, pairing, Path(out)) if why is None else Compared(pairing, why))
    return found


def _compared(
    asked: Comparison, pairing: Pairing, out: Path, watch: Any, interrupted: Callable[[], bool]
) -> Compared:
    here = _folder(pairing, out)
    tried = asked.methods[pairing.method].candidates(asked.tuning.trials)
    chosen = tried[0]
    if len(tried) > 1:
        study = _tuning(asked, pairing, tried)
        table = run_study(study, here / "tuning", observers=watch, interrupted=interrupted)
        chosen = tried[_best(asked, pairing, table)]
    study = Study(
        name=pairing.where, base=pairing.table, set=chosen, seeds=asked.seeds,
        at_once=asked.at_once,
    )  # fmt: skip
    run_study(study, here / "runs", observers=watch, interrupted=interrupted)
    return _found(asked, pairing, out)


def _folder(pairing: Pairing, out: Path) -> Path:
    return out / "runs" / pairing.task / pairing.device / pairing.method


def _found(asked: Comparison, pairing: Pairing, out: Path) -> Compared:
    here = _folder(pairing, out)
    runs = load_study(here / "runs") if is_file(here / "runs" / STUDY) else pd.DataFrame()
    if len(runs) < asked.seeds:
        return Compared(pairing, NOT_YET)
    keys, tuned = asked.methods[pairing.method].candidates(1)[0], 0
    if is_file(here / "tuning" / STUDY):
        tuned = int(load_study(here / "tuning")["measurements"].sum())
    base = read_study(here / "runs").base
    chosen = {key: setting(base, key) for key in keys}
    return Compared(pairing, None, needs_of(pairing), chosen, tuned, here / "runs", runs)


def _tuning(asked: Comparison, pairing: Pairing, tried: Sequence[dict[str, Any]]) -> Study:
    values: dict[str, list[Any]] = {key: [one[key] for one in tried] for key in tried[0]}
    budget = asked.tuning.measurements
    return Study(
        name=f"tuning of {pairing.where}",
        base=pairing.table,
        set={} if budget is None else {"until.measurements": budget},
        axes={TRIAL: {"label": [*range(len(tried))], **values}},
        seeds=tuple(FIRST_SEED + k for k in range(asked.tuning.seeds)),
        at_once=asked.at_once,
    )


def _best(asked: Comparison, pairing: Pairing, table: pd.DataFrame) -> int:
    """The number of the best trial, see `Search`."""
    search = Search(values=(1.0,), seeds=asked.tuning.seeds, measurements=asked.tuning.measurements)
    until = pairing.specification.until
    runs = table.astype(object).where(table.notna(), None).to_dict("records")
    of_trials: dict[int, list[Replica]] = {}
    for run in runs:
        row = {str(name): value for name, value in run.items()}
        of_trials.setdefault(row[TRIAL], []).append(replica_of(row))
    worth = {trial: search.worth(mine, until) for trial, mine in of_trials.items()}
    return min(worth, key=lambda trial: worth[trial])


def needs_of(pairing: Pairing) -> Needs:
    """The requirements of a pairing's method on the chip."""
    run = pairing.specification
    assert isinstance(run.device, AbstractDevice)
    problem = problem_of(run.device, run.device.deal(run.task.load()))
    algorithm: AbstractAlgorithm = run.algorithm
    state, sites = jax.eval_shape(lambda key: _begun(algorithm, key, problem), jax.random.key(0))
    leaves = [x.size for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.number)]
    weights, nodes = problem.space.size, sum(x.shape[-1] for x in jax.tree.leaves(sites))
    sources = 0 if getattr(algorithm, "exact", False) else nodes or weights
    return Needs(algorithm.access_level, sources, sum(leaves) / weights)


def _begun(algorithm: AbstractAlgorithm, key: Any, problem: Problem) -> Any:
    state = algorithm.init(key, jnp.zeros(problem.space.size), problem)
    return state, algorithm.ask(state)[0].sites


def _watched(
    observers: Sequence[StudyObserver], pairing: Pairing, number: int, done: int
) -> StudyObserver:
    """An observer of a study that reports the progress of the comparison."""

    def watch(now: StudyProgress) -> None:
        for observe in observers:
            observe(StudyProgress(done, number, now.own, f"{pairing.where}: {now.doing}"))

    return watch


def _open(out: Path, asked: Comparison) -> None:
    """Use or extend a comparison's folder. Errors: `RequestError` if it belongs to another."""
    file, asked = out / SPECIFICATION, asked.written_out()
    if is_file(file):
        if not _grows(read_comparison(file).written_out(), asked):
            raise RequestError(f"The folder {out} holds another comparison; give another --out.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"The folder {out} holds other files; give another --out.")
    make_folder(out)
    text = tomlkit.dumps(without_none(asked.model_dump(mode="json", exclude_none=True)))
    write_atomically(file, text.encode())


def _grows(there: Comparison, asked: Comparison) -> bool:
    """Whether comparisons differ only by added tasks, devices or methods."""
    parts = ("tasks", "devices", "methods")
    pairs = [(getattr(there, part), getattr(asked, part)) for part in parts]
    same = all(one[name] == other[name] for one, other in pairs for name in one.keys() & other)
    now = {part: getattr(asked, part) for part in (*parts, "about")}
    return same and there.model_copy(update=now) == asked


def chosen_in_words(compared: Compared) -> str:
    """The tuned and the given settings of a method, in words."""
    keys = compared.chosen or {}
    return ", ".join(f"{key.removeprefix('algorithm.')} {value:g}" for key, value in keys.items())
