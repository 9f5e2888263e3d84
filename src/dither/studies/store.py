"""A study's folder: its specification, one immutable Parquet file for each finished run."""

import contextlib
import itertools
import json
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tomlkit

from dither._errors import RequestError, RunError
from dither._files import (
    files_in,
    is_file,
    make_folder,
    read_file,
    refusal,
    write_atomically,
)
from dither._seal import KEY, OPEN, DamagedFileError, read_sealed, sealed, sealed_toml
from dither.studies.study import Study, read_study
from dither.training.folder import folder_beside
from dither.training.lease import abandoned
from dither.training.settings import without_none

SPECIFICATION = "study.toml"
RUNS = "runs"
LEASES = "leases"
WORK = "work"
DAMAGED = "damaged"

ROW = b"row"
"""The footer key of the line without its curves, as JSON, which is read ten times faster."""

CURVES = ("measurements", "cost", "test_cost", "score")
"""The parts of a run's history in its file, as lists in columns `curve_…`."""


TYPES = {"score": "double", "test_cost": "double", "target": "double", "budget": "int64"}
"""Columns with a fixed type in all files, even without a value."""


class DamagedFileWarning(UserWarning):
    """The file of a run is damaged or belongs to another run."""


def open_study(folder: Path, study: Study) -> Study:
    """Open a study's folder, or create it.

    Returns: the study as stored in the folder, with its base and its common settings written out.
    Errors: `RequestError` if the folder holds another study or other files.
    """
    whole = study.model_copy(update={"base": study.base_table(), "set": {}})
    text = _specification(whole)
    file = folder / SPECIFICATION
    if is_file(file):
        there = read_study(file)
        different = [
            name
            for name in ("base", "axes", "seeds", "at_once", "search")
            if getattr(there, name) != getattr(whole, name)
        ]
        if different:
            raise RequestError(
                f"The folder {folder} holds another study (its {' and '.join(different)} "
                "differ); give another --out."
            )
    elif folder.exists() and (not folder.is_dir() or _others(folder)):
        raise RequestError(f"The folder {folder} holds other files; give another --out.")
    if not is_file(file) or read_file(file) != text:
        make_folder(folder)
        write_atomically(file, text)
    return whole


def _specification(study: Study) -> bytes:
    table = study.model_dump(mode="json", exclude_none=True)
    return sealed_toml(tomlkit.dumps(without_none(table)))


def gone(folder: Path) -> bool:
    """Whether a study's folder was deleted while the study is running."""
    try:
        return not (folder / SPECIFICATION).exists()
    except OSError:  # a shared folder may be unavailable for a while
        return False


def save_beside(folder: Path, study: Study) -> RunError:
    """Move files written after a study's folder was deleted to a folder next to it.

    Returns: the error to raise.
    """
    saved = folder_beside(folder)
    if folder.is_dir():
        folder.replace(saved)
    write_atomically(saved / SPECIFICATION, _specification(study))
    return RunError(
        f"The folder {folder} was deleted while its study was running; later results and running "
        f"jobs are saved in {saved}; continue with dither study {saved}."
    )


def _others(folder: Path) -> bool:
    """Whether a folder holds more than the remains of a killed start."""
    return any(not path.name.startswith(f".{SPECIFICATION}-") for path in folder.iterdir())


def done(folder: Path) -> set[str]:
    """The names of the finished runs."""
    return {file.stem for file in files_in(folder / RUNS, ".parquet")}


def row_bytes(row: Mapping[str, Any]) -> bytes:
    """The content of a run's file: a table with one line."""
    types = {name: pa.type_for_alias(alias) for name, alias in TYPES.items()}
    types |= {name: pa.list_(pa.float64()) for name in row if name.startswith("curve_")}
    arrays = {name: pa.array([value], types.get(name)) for name, value in row.items()}
    table = pa.table(arrays)
    line = table.select(_without_curves(table.column_names)).to_pylist()[0]
    buffer = BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", use_dictionary=False, write_statistics=False,
        store_schema=False,
    ) as writer:  # fmt: skip
        writer.write_table(table)
        writer.add_key_value_metadata({ROW.decode(): json.dumps(line), KEY: OPEN})
    return sealed(buffer.getvalue())


def _without_curves(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("curve_")]


def write_run(folder: Path, name: str, content: bytes) -> bool:
    """Save a finished run unless it exists already; returns whether it was new."""
    file = folder / RUNS / f"{name}.parquet"
    if is_file(file):
        return False
    make_folder(file.parent)
    write_atomically(file, content)
    return True


def _whole(file: Path) -> tuple[pa.BufferReader, dict[str, Any]]:
    """An undamaged run's file, and its line without the curves.

    Errors: `RequestError` if it cannot be read, `DamagedFileError` if it is damaged or belongs to
    another run.
    """
    content = read_sealed(file)
    try:
        reader = pa.BufferReader(content)
        line: dict[str, Any] = json.loads(pq.read_metadata(reader).metadata[ROW])
        if line["run"] != file.stem:
            raise DamagedFileError(f"{file} holds another run, {line['run']}.")
    except (pa.ArrowException, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{file} holds no run ({type(error).__name__}).") from None
    return reader, line


def read_run(folder: Path, name: str) -> dict[str, Any] | None:
    """The row of a finished run; None if it is missing or damaged."""
    file = folder / RUNS / f"{name}.parquet"
    if not is_file(file):
        return None
    try:
        row: dict[str, Any] = pq.ParquetFile(_whole(file)[0]).read().to_pylist()[0]
    except (DamagedFileError, pa.ArrowException):
        return None
    return row


def set_damaged_aside(folder: Path) -> list[str]:
    """Move damaged or foreign files of runs away, so that these runs are repeated.

    Errors: `RequestError` for a file without read permission, which is not damaged.
    """
    found = []
    for file in files_in(folder / RUNS, ".parquet"):
        try:
            _whole(file)
        except DamagedFileError:
            make_folder(folder / DAMAGED)
            try:
                file.replace(_free(folder / DAMAGED / file.name))
            except OSError as error:
                raise refusal(file, error, "set aside") from None
            found.append(file.name)
    return found


def _free(file: Path) -> Path:
    """A free path for a file, so that earlier files moved aside are kept."""
    places = (file.with_name(f"{file.stem}-{k}{file.suffix}") for k in itertools.count(2))
    return next(place for place in itertools.chain([file], places) if not place.exists())


def tidy(folder: Path) -> None:
    """Remove leases and the remains of killed processes when no process is working."""
    if any(not abandoned(lease) for lease in (folder / LEASES).glob("*.json")):
        return
    for left in (*folder.glob(f".{SPECIFICATION}-*"), *(folder / RUNS).glob(".*.parquet-*")):
        left.unlink(missing_ok=True)
    for name in (LEASES, WORK):
        with contextlib.suppress(OSError):  # its content is still needed
            (folder / name).rmdir()


def forget(folder: Path, new: Iterable[Path]) -> None:
    """Remove a refused study, unless one of its runs is finished or running.

    Arguments: its folder; the folders that were made for it, the deepest first.
    """
    if done(folder) or any(not abandoned(lease) for lease in (folder / LEASES).glob("*.json")):
        return
    (folder / SPECIFICATION).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    with contextlib.suppress(OSError):  # other content belongs to somebody else
        for made in (*(folder / name for name in (LEASES, RUNS)), *new):
            if made.is_dir():
                made.rmdir()


def load_study(folder: str | Path, curves: bool = False) -> pd.DataFrame:
    """The finished runs of a study as one tidy table.

    Arguments: the study's folder; `curves`, whether to return one line per evaluation of a run
    (`measurements`, `cost`, `test_cost` and `score` are then those of the evaluation).
    Returns: one line per run: `run` (its name), `role` (`run`, or `trial` of a search), the axes,
    the settings that they change, `seed`, `score`, `stop_reason`, `reached` (the target), the
    ledger.
    Errors: `RequestError` if there is no study. Warns about damaged files.
    """
    folder = Path(folder)
    if not is_file(folder / SPECIFICATION):
        raise RequestError(f"The folder {folder} holds no study: it has no {SPECIFICATION}.")
    study = read_study(folder)
    table = _read(files_in(folder / RUNS, ".parquet"), curves)
    frame: pd.DataFrame = table.to_pandas()
    if not len(frame):
        return frame
    order = [*study.axes, "seed"]
    frame = _in_grid_order(frame, study, [name for name in order if name in frame.columns])
    if not curves:
        return frame
    names = [f"curve_{name}" for name in CURVES]
    frame = frame.drop(columns=[name for name in CURVES if name in frame.columns])
    return frame.explode(names, ignore_index=True).rename(
        columns=lambda name: name.removeprefix("curve_")
    )


def _in_grid_order(frame: pd.DataFrame, study: Study, by: list[str]) -> pd.DataFrame:
    places = {}
    for axis in study.axes:
        place = {label: index for index, label in enumerate(study.labels(axis))}
        places[axis] = frame[axis].map(place)
    keys = frame[by].assign(**places).assign(role=frame["role"])
    order = keys.sort_values(["role", *by], kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _read(files: Sequence[Path], curves: bool) -> pa.Table:
    """The files of the runs as one table, without damaged ones, for which it warns."""
    readers, lines = [], []
    for file in files:
        try:
            reader, line = _whole(file)
        except DamagedFileError as error:
            warnings.warn(
                f"{str(error).split(';')[0].rstrip('.')}; it is left out, and running the "
                "study again will "
                "move it aside and repeat that run.",
                DamagedFileWarning,
                stacklevel=3,
            )
            continue
        readers.append(reader if curves else None)
        lines.append(line)
    if curves:
        tables = [pq.read_table(reader) for reader in readers]
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})
    names = dict.fromkeys(name for line in lines for name in line)
    return pa.table(
        {name: pa.array([line.get(name) for line in lines], TYPES.get(name)) for name in names}
    )


def read_curves(folder: Path, runs: Iterable[str], y: str) -> dict[str, "pd.Series[float]"]:
    """A quantity of some runs at their evaluations, by measurements.

    Arguments: the study's folder; the runs' names; one of `CURVES`.
    Returns: by name, the curves of the runs with readable files.
    """
    names = ["curve_measurements", f"curve_{y}"]
    curves = {}
    for run in runs:
        with contextlib.suppress(RequestError, pa.ArrowException):
            file = pq.ParquetFile(_whole(folder / RUNS / f"{run}.parquet")[0])
            table = file.read(columns=names, use_threads=False)
            x, values = (table[name][0].as_py() for name in names)
            curves[run] = pd.Series(values, x, dtype=float)
    return curves
