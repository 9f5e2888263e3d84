"""The content of a run's page, from its folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from dither._errors import RequestError
from dither._seal import read_json
from dither._words import clock, count, duration, number
from dither.tasks.scores import display_of
from dither.training.folder import HISTORY, LEASE, PROGRESS, RESULT, SPECIFICATION
from dither.training.history import by_replica, quartiles, read_history
from dither.training.lease import died_here, holder
from dither.training.ledger import in_words
from dither.training.live import read_progress
from dither.training.load import read_result
from dither.training.settings import settings
from dither.training.specification import read_toml
from dither.watch.view import Head, Mood, TextTable, Tile, modified

if TYPE_CHECKING:
    from dither.planning.left import Expected

QUIET_AFTER = 15.0
"""The time without a sign of life that is reported, s."""

GONE_AFTER = 2.0
"""The same if no process holds the folder's lease, as after an error."""

MOST_POINTS = 500
MOST_REPLICAS = 40
"""The replicas drawn of a curve, at most."""

AIMS = {
    "score": "score",
    "measurements": "measurements",
    "device_seconds": "s of device time",
    "wall_seconds": "s of wall time",
    "plateau": "measurements without a better score",
}


@dataclass(frozen=True)
class RunCurve:
    """A quantity against the measurements of one device.

    Attributes: `quantity`, the axis label; `log`, whether the axis is logarithmic; `aim`, the
    target; `limits` of the axis; `x`, measurements; `low`, `middle`, `high`, quartiles over the
    replicas; `each`, replicas.
    """

    quantity: str
    log: bool
    aim: float | None
    limits: tuple[float, float] | None
    x: Float[np.ndarray, " N"]
    low: Float[np.ndarray, " N"]
    middle: Float[np.ndarray, " N"]
    high: Float[np.ndarray, " N"]
    each: tuple[Float[np.ndarray, " N"], ...]


@dataclass(frozen=True)
class RunView:
    """A run's page."""

    head: Head
    curves: tuple[RunCurve, ...]
    tables: tuple[TextTable, ...]


class RunWatch:
    """Watches a run's folder, and reads its history again only when it has changed.

    Arguments: the folder; `like`, that of a finished run whose curve gives the time left.
    """

    def __init__(self, folder: Path, like: Path | None = None) -> None:
        self.folder = folder
        self.expected: Expected | None = None
        self.foresee: Callable[[pd.DataFrame], Expected | None] = lambda _: None
        if like is not None:
            from dither.planning.left import foreseer

            target = read_toml(folder / SPECIFICATION)[0].get("until", {}).get("score")
            self.foresee = foreseer(like, target)
        self.read_at: tuple[int, int] | None = None
        self.history: pd.DataFrame | None = None

    def look(self, now: float) -> RunView:
        """The present page. Arguments: seconds since the epoch. Errors: `RequestError`."""
        specification, _ = read_toml(self.folder / SPECIFICATION)
        progress, result = read_progress(self.folder / PROGRESS), _result(self.folder / RESULT)
        signs = [modified(self.folder / name) for name in (SPECIFICATION, HISTORY, PROGRESS)]
        silent, about = now - max(signs), holder(self.folder / LEASE)
        heard = max(*signs, modified(self.folder / LEASE))
        died = died_here(about) if about else silent > GONE_AFTER
        stopped = heard if died and (about or progress is not None) else None
        history = self._history()
        return run_view(
            self.folder, specification, progress, result, history, silent, stopped, self.expected
        )

    def _history(self) -> pd.DataFrame | None:
        file = self.folder / HISTORY
        try:
            found = file.stat()
            if (found.st_mtime_ns, found.st_ino) != self.read_at:
                self.history = read_history(file)
                self.read_at = (found.st_mtime_ns, found.st_ino)
                self.expected = self.foresee(self.history)
        except (OSError, RequestError):
            return self.history
        return self.history


def run_view(
    folder: Path,
    specification: Mapping[str, Any],
    progress: Mapping[str, Any] | None,
    result: Mapping[str, Any] | None,
    history: pd.DataFrame | None,
    silent: float,
    stopped: float | None = None,
    expected: "Expected | None" = None,
) -> RunView:
    """The page of a run.

    Arguments: its folder; its specification as a table; `progress.json` and `result.json`, None if
    missing; its history; seconds since the last sign of life; the time of that, if the training
    process is known to have ended; the expected time to the target.
    """
    facts = progress or _facts_at_the_end(result, history)
    state, mood = _state(progress, result, silent, stopped)
    curves = () if history is None or history.empty else _curves(history, specification, facts)
    head = Head(
        name=str(specification.get("name", folder.name)),
        folder=str(folder),
        state=state,
        mood=mood,
        tiles=tuple(_tiles(facts, mood, expected)),
        share=_share(facts, mood),
    )
    return RunView(head, curves, tuple(_tables(specification, facts)))


def _state(
    progress: Mapping[str, Any] | None,
    result: Mapping[str, Any] | None,
    silent: float,
    stopped: float | None,
) -> tuple[str, Mood]:
    if progress is None and result is not None:
        failure = f": {result['failure']}" if result.get("failure") else ""
        return f"ended ({result['stop_reason'].replace('_', ' ')}{failure})", "ended"
    if stopped is not None:
        return f"stopped, last sign of life at {clock(stopped)}", "quiet"
    if progress is None:
        waited = f", for {duration(silent)}" if silent > QUIET_AFTER else ""
        return f"starting, no measurements yet{waited}", "quiet" if waited else "going"
    # a slow device makes few measurements between signs of life
    if silent > max(QUIET_AFTER, 3 / (progress.get("rate") or 1.0)):
        return f"no sign of life for {duration(silent)}", "quiet"
    return "running", "going"


def _facts_at_the_end(
    result: Mapping[str, Any] | None, history: pd.DataFrame | None
) -> dict[str, Any] | None:
    if result is None:
        return None
    facts: dict[str, Any] = {"ledger": result["ledger"], "score": result["score"]}
    replicas = result["replicas"]
    facts |= {
        "measurements": result["ledger"]["measurements"],
        "score_name": result["score_name"],
        "learning_rate": result.get("learning_rate"),
        "replicas": len(replicas),
        "finished": len(replicas),
    }
    if history is not None and len(history):
        last = history.groupby("replica").last()
        facts["cost"] = float(last["cost"].median())
        facts["wall_seconds"] = wall = float(history["wall_seconds"].max())
        facts["rate"] = float(history["measurements"].max()) / wall if wall > 0 else None
    return facts


def _tiles(
    facts: Mapping[str, Any] | None, mood: Mood, expected: "Expected | None" = None
) -> list[Tile]:
    if facts is None:
        return []
    ledger, replicas = facts["ledger"], facts["replicas"]
    median = f"median of {replicas} replicas" if replicas > 1 else ""
    tiles = [Tile("cost measured", number(facts.get("cost")), median)]
    if facts.get("score") is not None:
        tiles.append(Tile(f"test {facts['score_name']}", number(facts["score"]), median))
    if facts.get("learning_rate") is not None:
        tiles.append(Tile("learning rate", number(facts["learning_rate"]), median))
    most = facts.get("most")
    of = f"of at most {count(most)}" if most else "of one device" if replicas > 1 else ""
    tiles.append(Tile("measurements", count(facts["measurements"]), of))
    if facts.get("rate"):
        rate = facts["rate"]
        shown = count(rate) if rate >= 100 else f"{rate:.3g}"
        tiles.append(Tile("rate", f"{shown} / s", "measurements per wall time"))
    if facts.get("wall_seconds") is not None:
        tiles.append(Tile("wall time", duration(facts["wall_seconds"])))
    if mood == "going" and expected is not None and facts.get("rate"):
        tiles.append(_time_left(facts, expected))
    elif mood == "going" and facts.get("left_seconds") is not None:
        tiles.append(Tile("time left", duration(facts["left_seconds"]), "at most, at this rate"))
    share = ledger["failed"] / max(ledger["measurements"], 1)
    of_all = f"{100 * share:.2g} % of all" if share else ""
    tiles.append(Tile("failed measurements", count(ledger["failed"]), of_all))
    if replicas > 1:
        tiles.append(Tile("replicas finished", f"{facts['finished']} of {replicas}"))
    return tiles


def _time_left(facts: Mapping[str, Any], expected: "Expected") -> Tile:
    """The time left from the curve of a similar run, limited by the other stop rules."""
    most = facts.get("left_seconds")

    def left(end: float) -> float:
        seconds: float = max(0.0, (end - facts["measurements"]) / facts["rate"])
        return seconds if most is None else min(seconds, most)

    low, middle, high = (
        duration(left(end)) for end in (expected.low, expected.measurements, expected.high)
    )
    return Tile("time left", middle, f"{low} to {high}, from the curve of a similar run")


def _share(facts: Mapping[str, Any] | None, mood: Mood) -> float | None:
    if mood == "ended":
        return 1.0
    if facts is None:
        return None
    ways = []
    if facts.get("most"):
        ways.append(facts["measurements"] / facts["most"])
    if facts.get("left_seconds") is not None:
        wall = facts["wall_seconds"]
        ways.append(wall / max(wall + facts["left_seconds"], 1e-9))
    return min(1.0, max(ways)) if ways else None


def _tables(specification: Mapping[str, Any], facts: Mapping[str, Any] | None) -> list[TextTable]:
    tables = []
    if facts is not None:
        rows = tuple(in_words(facts["ledger"]))
        tables.append(TextTable("Ledger of one device", ("quantity", "amount", "unit"), rows))
    until = specification.get("until", {})
    aims = tuple((_limit(until[key]), what) for key, what in AIMS.items() if key in until)
    tables.append(TextTable("Stop rules (the first one met ends the run)", ("limit", "of"), aims))
    asked = settings({key: value for key, value in specification.items() if key != "until"})
    tables.append(TextTable("Settings", ("setting", "value"), tuple(asked.items())))
    return tables


def _limit(value: int | float) -> str:
    return count(value) if value >= 1000 else f"{value:.6g}"


def _curves(
    history: pd.DataFrame, specification: Mapping[str, Any], facts: Mapping[str, Any] | None
) -> tuple[RunCurve, ...]:
    aim = specification.get("until", {}).get("score")
    scored = history["score"].notna().any()
    display = display_of(str((facts or {}).get("score_name", "score")) if scored else None)
    told = history.assign(score=display.of(history["score"]))
    shown = curve(
        told, display.column, display.quantity, log=display.log,
        aim=display.of(aim) if scored and aim is not None else None, limits=display.limits,
    )  # fmt: skip
    both = curve(history, "cost", "cost measured", log=True), shown
    return tuple(one for one in both if np.isfinite(one.middle).any())


def curve(
    history: pd.DataFrame,
    column: str,
    quantity: str,
    log: bool,
    aim: float | None = None,
    limits: tuple[float, float] | None = None,
) -> RunCurve:
    """A column of a history as a curve.

    Long histories are thinned to every 2ᵏth point, so that points stay when others are added.
    """
    table = by_replica(history, column)
    stride = 1
    while len(table) / stride > MOST_POINTS:
        stride *= 2
    low, middle, high = quartiles(table)[:, stride - 1 :: stride]
    table = table[stride - 1 :: stride]
    shown = table.to_numpy(float).T[:MOST_REPLICAS]
    return RunCurve(
        quantity=quantity,
        log=log and bool((history[column].dropna() > 0).all()),
        aim=aim,
        limits=limits,
        x=table.index.to_numpy(float),
        low=low,
        middle=middle,
        high=high,
        each=tuple(shown) if len(shown) > 1 else (),
    )


def _result(file: Path) -> dict[str, Any] | None:
    try:
        return read_json(file) if read_result(file) else None
    except RequestError:
        return None
