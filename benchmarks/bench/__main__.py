"""Compare dither's speed with alternatives: `make bench`, `make bench LINES=cnn CORES=2`.

Each line of the table runs in a separate process, and its contenders take turns on the same cores.
Rates are per second of processor time, as medians over the rounds. The limit is the rate that the
machine's measured operations and bytes per second allow. Compare numbers within one run only.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import convolutions
import devices
import mirrors
import perceptrons
import start
from line import race
from machine import bandwidth, gemm
from memory import all_copies

LINES = {**perceptrons.LINES, **convolutions.LINES, **mirrors.LINES, **devices.LINES}
BUILD = Path("build/bench")


def measure(name: str) -> dict:
    """Measure one line in this process and return its results."""
    line = LINES[name]
    measured, absent = race(line)
    rates = {
        who: {"cpu": m.median, "wall": sorted(m.wall)[len(m.wall) // 2], "rounds": m.cpu}
        for who, m in measured.items()
    }
    return {
        "unit": line.unit,
        "rates": rates,
        "absent": absent,
        "operations": line.operations,
        "bytes": line.bytes,
    }


def limit(figures: dict, machine: dict) -> float | None:
    """Return the units per second that operations and bytes allow on the cores in use."""
    seconds = max(figures["operations"] / machine["gemm"], figures["bytes"] / machine["bandwidth"])
    return 1 / seconds if seconds else None


def short(rate: float | None) -> str:
    """Format a rate with three digits, such as 1.23 M or 45.6 k."""
    if rate is None:
        return "–"
    for factor, letter in ((1e6, " M"), (1e3, " k")):
        if rate >= factor:
            return f"{rate / factor:.3g}{letter}"
    return f"{rate:.3g}"


def table(found: dict, machine: dict) -> str:
    """Return the lines as a Markdown table: dither, the others, their ratio, the limit."""
    rows = [
        "| per second of processor time | dither | others | dither / best other | limit |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, figures in found.items():
        rates = {who: m["cpu"] for who, m in figures["rates"].items()}
        ours = rates.pop("dither")
        others = ", ".join(f"{who} {short(rate)}" for who, rate in rates.items()) or "–"
        rivals = [rate for who, rate in rates.items() if not who.startswith("dither")]
        ratio = f"{ours / max(rivals):.2f}" if rivals else "–"
        away = "".join(f" ({who})" for who in figures["absent"])
        bound = short(limit(figures, machine))
        rows.append(f"| {name} | {short(ours)} | {others}{away} | {ratio} | {bound} |")
    return "\n".join(rows)


def main() -> None:
    """Run the requested lines, each in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--lines", default="", help="run only the lines whose name contains this text"
    )
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--docs", type=Path, help="file to write the table to")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one)))
        return
    cores = sorted(os.sched_getaffinity(0))[-asked.cores :]
    os.sched_setaffinity(0, cores)
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores))}
    machine = {"gemm": gemm(), "bandwidth": bandwidth(), "cores": len(cores)}
    BUILD.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in LINES:
        if asked.lines.lower() not in name.lower():
            continue
        done = subprocess.run(
            [sys.executable, __file__, "--one", name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(table({name: found[name]}, machine).splitlines()[-1], flush=True)
    everything = not asked.lines
    started = start.seconds() if everything or asked.lines.lower() in "start-up" else {}
    held = all_copies() if everything or asked.lines.lower() in "memory" else {}
    for what, figure in {**started, **held}.items():
        print(f"{what}: {figure:.3g}", flush=True)
    date = datetime.date.today().isoformat()
    result = {
        "date": date,
        "python": platform.python_version(),
        "machine": machine,
        "lines": found,
        "start": started,
        "copies": held,
    }
    (BUILD / f"{asked.lines or 'all'}-{len(cores)}.json").write_text(json.dumps(result, indent=1))
    if asked.docs:
        asked.docs.write_text(page(result))


def page(result: dict) -> str:
    """Return the result as the page of the documentation."""
    machine, cores = result["machine"], result["machine"]["cores"]
    head = (
        f"{result['date']}, {cores} core{'s' * (cores > 1)}: products of matrices "
        f"{machine['gemm'] / 1e9:.0f} GFLOP/s, memory {machine['bandwidth'] / 1e9:.1f} GB/s."
    )
    tail = ["| start, processor time | s |", "| --- | --- |"]
    tail += [f"| {what} | {seconds:.2f} |" for what, seconds in result["start"].items()]
    tail += ["", "| memory held | copies of the parameters |", "| --- | --- |"]
    tail += [f"| {what} | {copies:.2f} |" for what, copies in result["copies"].items()]
    return "\n".join([head, "", table(result["lines"], machine), "", *tail, ""])


if __name__ == "__main__":
    main()
