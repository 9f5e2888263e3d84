"""Robustness to damaged files, full disks, missing permissions and changes of the clock."""

import ctypes
import errno
import os
import random
import resource
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from forked import child, same, train
from kills import COLUMNS, STUDY

from dither import DitherError, RequestError, _files
from dither._seal import sealed_json
from dither.studies import load_study, read_study, run_study, store
from dither.studies.report import write_report
from dither.training import lease, load_run
from dither.training.checkpoint import read_checkpoint, read_npz
from dither.training.folder import CHECKPOINT, HISTORY, PARAMETERS, PROGRESS, RESULT, SPECIFICATION
from dither.training.history import read_history
from dither.training.lease import Lease, holder
from dither.training.live import FACTS, read_progress
from dither.training.load import read_result
from dither.training.specification import read_specification

FLIPS_OF_EACH_KIND = 260
READINGS = ("detected", "harmless", "silent changes", "tracebacks")
SMALL = STUDY.model_copy(update={"seeds": 2, "axes": {"algorithm.learning_rate": [0.5, 1.0]}})


def run_and_study(folder: Path) -> None:
    """Write a finished run and a finished study.

    The files that exist only during a run, its progress and a lease, are added.
    """
    train(folder / "run", 200)
    run_study(SMALL, folder / "study")
    (folder / "run" / PROGRESS).write_bytes(sealed_json(dict.fromkeys(FACTS, 0.25)))
    (folder / "lease.json").write_bytes(sealed_json(Lease(folder / "lease.json").about))


def row_of_study(file: Path) -> Any:
    """Read a run's row through each function that reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", store.DamagedFileWarning)
        try:
            table = load_study(file.parents[1], curves=True)
        except store.DamagedFileWarning as warned:
            raise RequestError(str(warned)) from None
    return table.to_csv(), store.read_run(file.parents[1], file.stem)


def lease_of(file: Path) -> Any:
    """Return the holder of a lease.

    If the file is damaged, dither judges the lease by the file's modification time alone.
    """
    if not (about := holder(file)):
        raise RequestError("It is damaged.")
    return about


def progress_of(file: Path) -> Any:
    """Return the progress of a run. The live page omits damaged progress files."""
    if (facts := read_progress(file)) is None:
        raise RequestError("It is damaged.")
    return facts


def arrays_of(file: Path) -> Any:
    """Return the arrays of an archive."""
    return {name: array.tolist() for name, array in read_npz(file).items()}


def kinds(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Return, for each kind of file that dither reads back, an example and its reader."""
    run, study = folder / "run", folder / "study"
    return {
        "checkpoint": (run / CHECKPOINT, lambda file: (arrays_of(file), read_checkpoint(file)[1])),
        "history": (run / HISTORY, lambda file: read_history(file).to_csv()),
        "result": (run / RESULT, read_result),
        "parameters": (run / PARAMETERS, lambda file: load_run(file.parent).parameters.tolist()),
        "progress": (run / PROGRESS, progress_of),
        "specification": (run / SPECIFICATION, lambda file: read_specification(str(file))),
        "study": (study / store.SPECIFICATION, read_study),
        "run of a study": (sorted((study / store.RUNS).iterdir())[1], row_of_study),
        "lease": (folder / "lease.json", lease_of),
    }


def outcome(call: Callable[[], Any], before: str) -> str:
    """Classify the outcome of reading a modified file."""
    try:
        return "harmless" if repr(call()) == before else "silent changes"
    except DitherError as error:
        return "detected" if "\n" not in str(error) else "long messages"
    except Exception:
        return "tracebacks"


def bit_flips(folder: Path) -> dict[str, int | float | str]:
    """Flip one bit in one file at a time."""
    run_and_study(folder)
    chance, counts = random.Random(0), Counter[str]()
    for file, read in kinds(folder).values():
        whole, before = file.read_bytes(), repr(read(file))
        for _ in range(FLIPS_OF_EACH_KIND):
            place = chance.randrange(8 * len(whole))
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            file.write_bytes(flipped)
            counts[outcome(lambda file=file, read=read: read(file), before)] += 1
        file.write_bytes(whole)
    return {
        "kinds of files": len(kinds(folder)),
        "flips": counts.total(),
        **{name: counts[name] for name in READINGS},
    }


def cuts(folder: Path) -> dict[str, int | float | str]:
    """Truncate files at random positions, empty them, and double them.

    Files are also replaced by files of every other kind and by fragments of JSON.
    """
    run_and_study(folder)
    chance, counts = random.Random(0), Counter[str]()
    there = kinds(folder)
    for file, read in there.values():
        whole, before = file.read_bytes(), repr(read(file))
        contents = [whole[: chance.randrange(len(whole))] for _ in range(40)]
        contents += [b"", whole + whole, b"[]", b"null", b"{}", b"[" * 100_000, b"9" * 100_000]
        contents += [other.read_bytes() for other, _ in there.values() if other != file]
        for content in contents:
            file.write_bytes(content)
            counts[outcome(lambda file=file, read=read: read(file), before)] += 1
        file.write_bytes(whole)
    return {
        "files": counts.total(),
        **{name: counts[name] for name in READINGS},
    }


def no_room_from(write: int) -> Callable[[int], None]:
    """Return an `fsync` that reports a full disk from the given call onwards."""
    calls, flush = 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    return full


def full_disks(folder: Path) -> dict[str, int | float | str]:
    """Simulate a disk that is full from the first, second, third … write onwards, then has space.

    Limits on the size of a single file are tried first.
    """
    counts, flush = Counter[str](), os.fsync
    train(folder / "warm", 200)
    for limit in (100, 1_000, 2_000, 4_000, 8_000, 16_000):
        out = folder / f"limit-{limit}"
        status = child(lambda out=out, limit=limit: limited(out, limit))
        counts["with a limit on file size: ended with an error message"] += status == 0
    whole = {"run": train(None, 200), "study": run_study(SMALL, folder / "whole")}
    for what in whole:
        for write in range(1, 60):
            out = folder / f"{what}-{write}"
            _files.os.fsync = no_room_from(write)
            try:
                began(what, out)
                break
            except DitherError as error:
                told = "No space left" in str(error)
                counts["on a full disk: ended with an error message"] += told
                counts["blamed on the request"] += isinstance(error, RequestError)
            finally:
                _files.os.fsync = flush
                counts["starts"] += 1
            again = began(what, out)
            equal = same(again, whole[what]) if what == "run" else again[COLUMNS].equals(
                whole[what][COLUMNS])  # fmt: skip
            counts["resumed, bitwise equal"] += equal
    return {**counts, "starts": counts["starts"] - len(whole)}


def began(what: str, out: Path) -> Any:
    """Start a run or a study, or complete an interrupted one."""
    if what == "study":
        return run_study(SMALL, out)
    return train(out, 200, resume=(out / SPECIFICATION).exists())


def limited(out: Path, limit: int) -> None:
    """Train in a process whose files may not exceed `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(out, 200)
    except DitherError as error:
        if "File too large" not in str(error):
            raise


def without_rights() -> None:
    """Drop the capabilities with which root bypasses file permissions."""
    if os.geteuid():
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for k in (0, 1):  # effective and permitted sets: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        data[k] &= ~0b110
    assert libc.capset(header, data) == 0


def closed_places(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield each file and folder of a run and a study with each mode that denies access."""
    for path in sorted((folder / "run", *(folder / "run").rglob("*"), folder / "study",
                        *(folder / "study").rglob("*"))):  # fmt: skip
        yield path, 0o000
        if path.is_dir():
            yield path, 0o500
            yield path, 0o600


def permissions(folder: Path) -> dict[str, int | float | str]:
    """Deny access to each file and folder in turn, and try all functions that use them.

    From here on, the process lacks the capabilities with which root bypasses file permissions.
    """
    run_and_study(folder)
    without_rights()
    run, study = folder / "run", folder / "study"
    acts: dict[str, Callable[[], Any]] = {
        "load_run": lambda: load_run(run),
        "resume": lambda: train(run, 300, resume=True),
        "report": lambda: write_report(run),
        "load_study": lambda: load_study(study),
        "study": lambda: run_study(SMALL, study),
        "report of the study": lambda: write_report(study),
    }
    counts = Counter[str]()
    whole = folder / "whole"
    for path, mode in closed_places(folder):
        for name, act in acts.items():
            if ("study" in name) != path.is_relative_to(study):
                continue
            for part in (run, study):
                shutil.copytree(part, whole / part.name)
            path.chmod(mode)
            counts["attempts"] += 1
            try:
                act()
                counts["unaffected"] += 1
            except DitherError as error:
                said = str(error)
                counts["error names the permission"] += "no permission" in said
                wrong = "damaged" in said or "remove" in said
                counts["error calls the file damaged or advises removal"] += wrong
            except PermissionError:
                counts["Python's PermissionError"] += 1
            except Exception:
                counts["other tracebacks"] += 1
            finally:
                with suppress(FileNotFoundError):  # the call may have removed it
                    path.chmod(0o755)
            for part in (run, study):
                shutil.rmtree(part)
                shutil.copytree(whole / part.name, part)
            shutil.rmtree(whole)
    names = ("error calls the file damaged or advises removal", "Python's PermissionError",
             "other tracebacks")  # fmt: skip
    return {**counts, **{name: counts[name] for name in names}}


def clocks(folder: Path) -> dict[str, int | float | str]:
    """Shift the system clock by up to ten years, forwards and backwards, during runs and leases."""
    chance, now, jumps = random.Random(0), time.time, 0

    def jumping() -> float:
        nonlocal jumps
        jumps += 1
        return now() + chance.uniform(-3e8, 3e8)

    time.time = jumping
    try:
        runs = [train(folder / f"run-{k}", 400, key=k) for k in range(5)]
    finally:
        time.time = now
    lease.SIGN_OF_LIFE_EVERY = 0.05
    equal = sum(same(run, train(None, 400, key=k)) for k, run in enumerate(runs))
    taken = tries = 0
    for ahead in (-3e8, -3600.0, 3600.0, 3e8):
        for host in ("elsewhere", None):
            file = folder / f"lease{ahead}{host}.json"
            held = Lease(file)
            held.about |= {} if host is None else {"host": host}
            file.write_bytes(sealed_json(held.about))
            status = child(lambda file=file, ahead=ahead: steal(file, now() + ahead), wait=30)
            taken += status != 0
            tries += 1
    return {
        "shifted clock readings": jumps,
        "runs bitwise equal to the undisturbed run": f"{equal} of {len(runs)}",
        "negative durations": sum(int((run.history["wall_seconds"] < 0).sum()) for run in runs),
        "attempts to take the lease of a live holder": tries,
        "leases taken": taken,
    }


def steal(file: Path, clock: float) -> None:
    """Try to take a lease whose holder is alive but touches the file with a wrong clock."""
    import threading

    over = threading.Event()

    def touch() -> None:
        at = clock
        while not over.wait(0.02):
            at += 0.02
            os.utime(file, (at, at))

    holding = threading.Thread(target=touch, daemon=True)
    holding.start()
    time.sleep(0.1)
    assert Lease.take(file) is None
    over.set()


ROWS = {
    "Bits flipped in files": bit_flips,
    "Files truncated or swapped": cuts,
    "Disk full at any write": full_disks,
    "Files and folders without access permission": permissions,
    "Jumps of the system clock": clocks,
}
