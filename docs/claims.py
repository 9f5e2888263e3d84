"""The performance claims of README and docs: read, held against their results, run again.

`claims.py` runs the quick commands of claims.toml again, `claims.py --long` all of them and
`claims.py NAME ...` those of the claims or results named, each in a copy of the project. It prints
every claim's value beside the recorded one, writes results/claims.json, and fails where one lies
outside its interval.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from dither._words import number

HERE = Path(__file__).parent
ROOT, RESULTS = HERE.parent, HERE / "results"
RECORD = RESULTS / "claims.json"
QUICK = 5
"""Minutes that a command may take to be run again without `--long`."""
SHOWN = 3
"""Intervals of a claim that the page spells out."""
SEEDS, FEW, LONG = 9, 5, 10
"""Seeds of a claim; those of one whose single run takes more than so many minutes."""
NO_CLAIMS = ("Installation", "Licence and citing")
"""README's sections whose numbers are versions and references."""
NUMBER = re.compile(r"∞|\d(?:\d|[ \u202f](?=\d{3}(?!\d)))*(?:\.\d+)?(?:k\b)?")
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")

RUNS = r"(seed|run|chip|training|instance|reservoir|system|initialisation|set|estimate)"
"""What a page calls the repetitions that it counts."""


@dataclass(frozen=True)
class Claim:
    """What a page says, and what makes it."""

    id: str
    says: str
    """The words as they stand on the page; in braces the numbers that the result holds. The first
    line of a table, or the line that includes one, stands for the table; a figure for itself."""
    where: str
    """The page."""
    result: str
    """The file in docs/results that holds the numbers."""
    value: str
    """Python for the list of these numbers, from the file's content `data`."""
    interval: str | list[list[float]]
    """Where a fresh run's numbers may end, from the first on: low and high, or Python for these."""
    seeds: int
    """Fewest runs behind a number; 0 where no chance is in it."""
    sees: str
    """What the rule may see."""
    rival: str
    """The fairest rival, and its number."""
    command: str
    minutes: float
    """That the command takes on one core."""
    date: date
    one_run: float = 0
    """Minutes of a single run, where they are many."""
    marked: str = ""
    """Words of the page that tell how few the seeds are, if `says` does not."""

    def values(self, data: Any) -> list[float]:
        """The numbers, from a result."""
        found = eval(self.value, {"data": data, **GIVEN})
        return [np.inf if one is None else float(one) for one in found]

    def intervals(self, data: Any) -> list[Sequence[float]]:
        """Where a fresh run's numbers may lie; an end that is None is open."""
        pairs = self.interval
        pairs = eval(pairs, {"data": data, **GIVEN}) if isinstance(pairs, str) else pairs
        return [
            (-np.inf if low is None else low, np.inf if high is None else high)
            for low, high in pairs
        ]

    def page(self) -> str:
        """The text of the page."""
        return (ROOT / self.where).read_text("utf-8")

    def stated(self) -> list[str]:
        """The numbers in braces; of a whole table all numbers."""
        if included := re.fullmatch(r'--8<-- "([^":]+)[^"]*"', self.says):
            return NUMBER.findall((ROOT / included[1]).read_text("utf-8"))
        if self.is_whole():
            return NUMBER.findall(self.page().partition(self.says)[2].partition("\n\n")[0])
        return re.findall(r"\{(.+?)\}", self.says)

    def is_whole(self) -> bool:
        """Whether it stands for a whole table or figure."""
        return self.says.startswith(("--8<--", "| ", "![")) and "{" not in self.says


def median(runs: Sequence[float | None]) -> float:
    """The median of runs; one that did not arrive is infinite."""
    return float(np.median([np.inf if run is None else run for run in runs]))


def between(runs: Sequence[float | None]) -> list[float]:
    """The 95 % interval of a median, by bootstrap over the runs."""
    values = np.array([np.inf if run is None else run for run in runs], float)
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return np.quantile(np.median(drawn, axis=1), [0.025, 0.975], method="nearest").tolist()


def plain(text: str) -> float:
    """A number as pages write it: 14 400, −0.5, 1.5k, ∞."""
    if text.endswith("k"):
        return 1000 * plain(text[:-1])
    return float(re.sub(r"[ \u202f%]", "", text).replace("−", "-").replace("∞", "inf"))


def numbers(text: str) -> list[float]:
    """The numbers of a cell, in order."""
    return [plain(one) for one in re.findall(rf"[−-]?(?:{NUMBER.pattern})", text)]


def line(data: list[list[str]], *starts: str) -> list[str]:
    """The line of a Markdown table that begins with these cells."""
    return next(cells for cells in data if tuple(cells[: len(starts)]) == starts)


GIVEN = {"median": median, "between": between, "numbers": numbers, "line": line, "np": np}
"""What a claim's Python may use beside `data`."""


def read_claims() -> list[Claim]:
    """All claims of claims.toml; each has what it says itself, and the rest from its result."""
    table = tomllib.loads((HERE / "claims.toml").read_text("utf-8"))
    return [
        Claim(**{**{key: own for key, own in result.items() if key != "claim"}, **claim})
        for result in table["result"]
        for claim in result["claim"]
    ]


def read_result(folder: Path, name: str) -> Any:
    """A file of results: JSON, or the cells of a Markdown table."""
    text = (folder / name).read_text("utf-8")
    if name.endswith(".json"):
        return json.loads(text)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def equal(stated: str, value: float) -> bool:
    """Whether a number is the one stated, to its decimals or to three digits."""
    if stated.endswith("k"):
        return equal(stated[:-1], value / 1000)
    whole, _, decimals = re.sub(r"[^\d.]", "", stated).partition(".")
    zeros = min(len(whole) - len(whole.rstrip("0")), max(len(whole) - 3, 0))
    unit = 10.0 ** (-len(decimals) if decimals else zeros)
    return plain(stated) == value or abs(plain(stated) - value) <= 0.5000001 * unit


def pattern(words: str) -> re.Pattern[str]:
    """The words as they stand on a page, however its lines are broken."""
    return re.compile(r"\s+".join(map(re.escape, words.split())))


def faults(claim: Claim) -> Iterator[str]:
    """What is wrong with a claim: its words, its numbers, its seeds."""
    page, words = claim.page(), re.sub(r"[{}]", "", claim.says)
    if not pattern(words).search(page):
        yield f"{claim.where} does not say '{words}'"
    data = read_result(RESULTS, claim.result)
    values, stated = claim.values(data), claim.stated()
    if claim.says.startswith("!["):
        lost = []
    elif claim.is_whole():
        lost = [one for one in values if not any(equal(text, one) for text in stated)]
    else:
        if len(stated) != len(values):
            yield f"it states {len(stated)} numbers and its result holds {len(values)}"
        lost = [one for text, one in zip(stated, values) if not equal(text, one)]
    if lost:
        yield f"{claim.result} holds {lost[:5]}, which it does not state"
    for one, (low, high) in zip(values, claim.intervals(data)):
        if not low <= one <= high:
            yield f"{one} lies outside its own interval, {low} to {high}"
    if 0 < claim.seeds < (FEW if claim.one_run > LONG else SEEDS):
        marked = claim.marked or words
        count = f"({claim.seeds}|{WORDS[claim.seeds]}{'|single' if claim.seeds == 1 else ''})"
        told = rf"(?<![\d.]){count} {RUNS}"
        if not re.search(told, marked, re.IGNORECASE) or not pattern(marked).search(page):
            yield f"it rests on {claim.seeds} seeds, which {claim.where} does not say"


def loose_numbers(text: str, claims: Sequence[Claim]) -> list[str]:
    """README's numbers that no claim covers: figures in its prose, outside of `NO_CLAIMS`."""
    for claim in (claim for claim in claims if claim.where == "README.md"):
        text = pattern(re.sub(r"[{}]", "", claim.says)).sub(" ", text)
    for section in NO_CLAIMS:
        text = re.sub(rf"^## {section}\n.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in (r"^```.*?^```", r"`[^`]*`", r"!\[.*?\]\(.*?\)", r"\]\(.*?\)"):
        text = re.sub(code, " ", text, flags=re.DOTALL | re.MULTILINE)
    return NUMBER.findall(text)


# ------------------------------------------------------------------------------------- the page


def by_command(claims: Sequence[Claim]) -> list[list[Claim]]:
    """The claims that one run of a command makes again."""
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((claim.command, claim.result), []).append(claim)
    return list(groups.values())


def page() -> str:
    """The page of all claims."""
    lines = [
        "# Claims",
        "",
        "The performance claims of README and of these pages, with what makes each. `make claims` "
        f"runs the commands of at most {QUICK} minutes again and compares, `make claims LONG=1` "
        "all of them, `make claims NAME=codes` that of one claim. A fresh run must end "
        "within the interval. *Seeds* are the fewest runs behind a number; – is a count without "
        "chance. Minutes are those of one core. Numbers of README that are not listed here fail "
        "the build.",
        "",
    ]
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    for claims in by_command(read_claims()):
        one, again = claims[0], record.get(claims[0].command)
        told = f" Run again on {again['date']}: {again['says']}." if again else ""
        lines += [
            f"## {one.result}",
            "",
            f"`{one.command}` ({one.minutes:g} minutes). Made on {one.date}.{told}",
            "",
            "| claim | seeds | interval | the rule sees | fairest rival |",
            "| --- | --- | --- | --- | --- |",
            *(row(claim) for claim in claims),
            "",
        ]
    return "\n".join(lines)


def row(claim: Claim) -> str:
    """A line of the page's table."""
    name = claim.where.removeprefix("docs/").removesuffix(".md")
    linked = f"[{name}]({name}.md)" if claim.where.startswith("docs/") else name
    words = re.sub(r"\]\([^)]*\)|[{}\[\]*]", "", claim.says).replace("|", "\\|")
    if claim.is_whole():
        words = f"the {'figure' if words.startswith('!') else 'table'} *{claim.id}*"
    pairs = claim.intervals(read_result(RESULTS, claim.result))
    told = f"of {len(pairs)} numbers"
    if len(pairs) <= SHOWN:
        told = "; ".join(f"{number(low)} – {number(high)}" for low, high in pairs) or "–"
    cells = linked + ": " + words, claim.seeds or "–", told, claim.sees, claim.rival
    return "| " + " | ".join(map(str, cells)) + " |"


# ------------------------------------------------------------------------------------ run again


def run_again(command: str, result: str) -> Any:
    """What a command writes, run in a copy of the project that lacks the result."""
    copy = ROOT / "build" / "claims" / result.rpartition(".")[0]
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("src", "docs", "benchmarks", "examples"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / "docs" / "results" / result).unlink()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    around = {**os.environ, "PATH": path, "PYTHONPATH": str(copy / "src")}
    subprocess.run(command, shell=True, check=True, cwd=copy, env=around)
    return read_result(copy / "docs" / "results", result)


def compare(claims: Sequence[Claim], before: Any, after: Any) -> tuple[int, int]:
    """Print recorded and fresh values; how many were compared, how many lie outside."""
    compared = outside = 0
    for claim in claims:
        old, new = claim.values(before), claim.values(after)
        for one, other, (low, high) in zip(old, new, claim.intervals(before)):
            compared, lost = compared + 1, not low <= other <= high
            outside += lost
            told = f"{one:g} ({low:g} – {high:g}), now {other:g}"
            print(f"{claim.id}: {told}{'  OUTSIDE' if lost else ''}")
    return compared, outside


def main(words: Sequence[str]) -> int:
    """Run again what is asked for; the number of values outside."""
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    lost = 0
    for claims in by_command(read_claims()):
        command, file, minutes = claims[0].command, claims[0].result, claims[0].minutes
        named = {file, *(claim.id for claim in claims)} & set(words)
        if not (named or "--long" in words or (not words and minutes <= QUICK)):
            if not words:
                print(f"{command}: {minutes:g} minutes, not run without LONG=1")
            continue
        begun = time.monotonic()
        after = run_again(command, file)
        compared, outside = compare(claims, read_result(RESULTS, file), after)
        lost += outside
        says = f"{compared - outside} of {compared} numbers within their intervals"
        print(f"{command}: {says} ({(time.monotonic() - begun) / 60:.1f} minutes)")
        record[command] = {"date": str(date.today()), "says": says}
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n", "utf-8")
    return lost


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
