"""Run the robustness tests, each of which provokes one kind of failure, and tabulate the outcomes.

`python benchmarks/hostile [ROW ...]` runs the rows whose titles begin with one of the arguments.
Without arguments, it runs the rows that have no results in build/hostile yet. It then writes
docs/results/hostile.md. Each row runs in a separate process and a separate folder. A row is
terminated after `LIMIT` seconds.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

Figures: TypeAlias = dict[str, int | float | str]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ROOT / "build" / "hostile"
TABLE = ROOT / "docs" / "results" / "hostile.md"
MODULES = ("kills", "files", "network")
LIMIT = 900.0

WORDS = {
    "let_in": "violations",
    "wait_s": "longest wait, s",
    "rate_ratio": "speed of training relative to that without the flood",
    "looks_refused": "status requests refused",
    "told_why": "refused with the reason",
    "memory_MiB": "memory added, MiB",
    "safe_after_s": "longest time to the safe state, s",
    "lease_s": "lease, s",
    "no more than some bytes in a file: ended in a sentence": "file size limit, message",
    "ended in a sentence": "full disk, message",
    "the request blamed": "called a wrong request",
    "starts": "interrupted starts",
    "gone on with, equal bit for bit": "resumed, equal bit for bit",
    "named with the permission": "error names the permission",
    "called damaged, or to be removed": "called damaged",
    "done all the same": "succeeded nevertheless",
    "left to Python's own PermissionError": "bare PermissionError",
    "leases of living holders tried": "attempts on leases of live holders",
    "taken": "leases taken",
}
"""The words of the table for figures whose names are no words or too short."""


def rows() -> dict[str, Callable[[Path], Figures]]:
    """Return the row functions by title. Each takes a folder to work in."""
    found: dict[str, Callable[[Path], Figures]] = {}
    for name in MODULES:
        if (HERE / f"{name}.py").is_file():
            found |= import_module(name).ROWS
    return found


def kept(title: str) -> Path:
    """Return the path of a row's results file."""
    return KEPT / f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.json"


def run(title: str) -> None:
    """Run a row in a separate process and save its results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE), "--alone", title, folder]
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT)
            figures = json.loads(ended.stdout.splitlines()[-1]) if not ended.returncode else {
                "ended with status": ended.returncode
            }  # fmt: skip
        except subprocess.TimeoutExpired:
            figures = {"not done within, s": LIMIT}
    told = {
        "title": title,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(time.monotonic() - began),
        "figures": figures,
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    kept(title).write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told), flush=True)


def table(titles: list[str]) -> str:
    """Return the rows that have results, as a Markdown table."""
    lines = ["| fault or attack | outcome | date | duration |", "|---|---|---|---|"]
    for title in titles:
        if kept(title).is_file():
            told = json.loads(kept(title).read_text())
            figures = "; ".join(
                f"{WORDS.get(name, name)}: {value}" for name, value in told["figures"].items()
            )
            lines.append(f"| {title} | {figures} | {told['date']} | {told['seconds']} s |")
    return "\n".join(lines) + "\n"


def main(asked: list[str]) -> None:
    """Run the requested rows, or by default the missing ones, and write the table."""
    known = rows()
    if asked[:1] == ["--alone"]:
        print(json.dumps(known[asked[1]](Path(asked[2]))))
        return
    for title in known:
        wanted = any(title.lower().startswith(word.lower()) for word in asked)
        if wanted or (not asked and not kept(title).is_file()):
            run(title)
    TABLE.write_text(table(list(known)))


if __name__ == "__main__":
    main(sys.argv[1:])
