"""Read the performance claims of README and docs, check them against their results, rerun them.

`claims.py` reruns the quick commands of claims.toml, `claims.py --long` reruns all commands, and
`claims.py NAME ...` reruns the commands of the named claims or results. Each command runs in a copy
of the project. The script prints the new value of each claim with the recorded value and writes
results/claims.json. It fails if a new value is outside its interval.
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
"""The longest command, in minutes, that is rerun without `--long`."""
SHOWN = 3
"""The maximum number of intervals of a claim that the page lists individually."""
SEEDS, FEW, LONG = 9, 5, 10
"""Seeds required of a claim; seeds required if a single run takes more than `LONG` minutes."""
NO_CLAIMS = ("Installation", "Licence and citing")
"""Sections of README whose numbers are versions and references, not claims."""
NUMBER = re.compile(r"∞|\d(?:\d|[ \u202f](?=\d{3}(?!\d)))*(?:\.\d+)?(?:k\b)?")
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")

RUNS = r"(seed|run|chip|training|instance|reservoir|system|initialisation|set|estimate)"
"""The words that pages use for repetitions."""


@dataclass(frozen=True)
class Claim:
    """A statement on a page, with the result and the command that produce it."""

    id: str
    says: str
    """The exact words of the page, with the numbers of the result in braces. A table is represented
    by its first line, or by the line that includes it; a figure by its own line."""
    where: str
    """The page."""
    result: str
    """The file in docs/results that contains the numbers."""
    value: str
    """A Python expression for the list of these numbers; `data` is the content of the file."""
    interval: str | list[list[float]]
    """Pairs of low and high, or a Python expression for them: the intervals that must contain the
    numbers of a new run, in order from the first number."""
    seeds: int
    """The smallest number of runs behind a number; 0 if the number is deterministic."""
    sees: str
    """What the rule has access to."""
    rival: str
    """The fairest rival, with its number."""
    command: str
    minutes: float
    """The minutes that the command takes on one core."""
    date: date
    one_run: float = 0
    """The minutes of a single run, if it is long."""
    marked: str = ""
    """Words of the page that state the small number of seeds, if `says` does not state it."""

    def values(self, data: Any) -> list[float]:
        """Compute the numbers from the content of a result."""
        found = eval(self.value, {"data": data, **GIVEN})
        return [np.inf if one is None else float(one) for one in found]

    def intervals(self, data: Any) -> list[Sequence[float]]:
        """The intervals for the numbers of a new run; None is an open end."""
        pairs = self.interval
        pairs = eval(pairs, {"data": data, **GIVEN}) if isinstance(pairs, str) else pairs
        return [
            (-np.inf if low is None else low, np.inf if high is None else high)
            for low, high in pairs
        ]

    def page(self) -> str:
        """Read the text of the page."""
        return (ROOT / self.where).read_text("utf-8")

    def stated(self) -> list[str]:
        """The numbers in braces, or all numbers of a whole table."""
        if included := re.fullmatch(r'--8<-- "([^":]+)[^"]*"', self.says):
            return NUMBER.findall((ROOT / included[1]).read_text("utf-8"))
        if self.is_whole():
            return NUMBER.findall(self.page().partition(self.says)[2].partition("\n\n")[0])
        return re.findall(r"\{(.+?)\}", self.says)

    def is_whole(self) -> bool:
        """Whether the claim represents a whole table or figure."""
        return self.says.startswith(("--8<--", "| ", "![")) and "{" not in self.says


def median(runs: Sequence[float | None]) -> float:
    """The median over runs; a run that did not reach its target is infinite."""
    return float(np.median([np.inf if run is None else run for run in runs]))


def between(runs: Sequence[float | None]) -> list[float]:
    """The 95 % bootstrap interval of the median over runs."""
    values = np.array([np.inf if run is None else run for run in runs], float)
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return np.quantile(np.median(drawn, axis=1), [0.025, 0.975], method="nearest").tolist()


def plain(text: str) -> float:
    """Parse a number as written on pages: 14 400, −0.5, 1.5k, ∞."""
    if text.endswith("k"):
        return 1000 * plain(text[:-1])
    return float(re.sub(r"[ \u202f%]", "", text).replace("−", "-").replace("∞", "inf"))


def numbers(text: str) -> list[float]:
    """Parse the numbers of a table cell, in order."""
    return [plain(one) for one in re.findall(rf"[−-]?(?:{NUMBER.pattern})", text)]


def line(data: list[list[str]], *starts: str) -> list[str]:
    """The line of a Markdown table that starts with the given cells."""
    return next(cells for cells in data if tuple(cells[: len(starts)]) == starts)


GIVEN = {"median": median, "between": between, "numbers": numbers, "line": line, "np": np}
"""The names that the Python expressions of a claim can use, in addition to `data`."""


def read_claims() -> list[Claim]:
    """Read all claims of claims.toml; a claim inherits the missing entries from its result."""
    table = tomllib.loads((HERE / "claims.toml").read_text("utf-8"))
    return [
        Claim(**{**{key: own for key, own in result.items() if key != "claim"}, **claim})
        for result in table["result"]
        for claim in result["claim"]
    ]


def read_result(folder: Path, name: str) -> Any:
    """Read a result file: the JSON content, or the cells of a Markdown table."""
    text = (folder / name).read_text("utf-8")
    if name.endswith(".json"):
        return json.loads(text)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def equal(stated: str, value: float) -> bool:
    """Whether a value agrees with the stated number, to its decimals or to three digits."""
    if stated.endswith("k"):
        return equal(stated[:-1], value / 1000)
    whole, _, decimals = re.sub(r"[^\d.]", "", stated).partition(".")
    zeros = min(len(whole) - len(whole.rstrip("0")), max(len(whole) - 3, 0))
    unit = 10.0 ** (-len(decimals) if decimals else zeros)
    return plain(stated) == value or abs(plain(stated) - value) <= 0.5000001 * unit


def pattern(words: str) -> re.Pattern[str]:
    """A pattern for words on a page that ignores line breaks."""
    return re.compile(r"\s+".join(map(re.escape, words.split())))


def faults(claim: Claim) -> Iterator[str]:
    """Yield the errors of a claim in its words, its numbers and its seeds."""
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
    """The numbers in the prose of README, outside `NO_CLAIMS`, that no claim covers."""
    for claim in (claim for claim in claims if claim.where == "README.md"):
        text = pattern(re.sub(r"[{}]", "", claim.says)).sub(" ", text)
    for section in NO_CLAIMS:
        text = re.sub(rf"^## {section}\n.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in (r"^```.*?^```", r"`[^`]*`", r"!\[.*?\]\(.*?\)", r"\]\(.*?\)"):
        text = re.sub(code, " ", text, flags=re.DOTALL | re.MULTILINE)
    return NUMBER.findall(text)


# ------------------------------------------------------------------------------------- the page


def by_command(claims: Sequence[Claim]) -> list[list[Claim]]:
    """Group the claims that are produced by the same command and result."""
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((claim.command, claim.result), []).append(claim)
    return list(groups.values())


def page() -> str:
    """Make the page of all claims."""
    lines = [
        "# Claims",
        "",
        "The performance claims of README and of these pages, each with the command that produces "
        f"it. `make claims` reruns the commands of at most {QUICK} minutes and compares the "
        "results. `make claims LONG=1` reruns all commands, and `make claims NAME=codes` reruns "
        "that of one claim. The numbers of a new run must be within the interval. *Seeds* is the "
        "smallest number of runs behind a number; – marks a deterministic number. Minutes are for "
        "one core. The build fails if README has numbers that are not listed here.",
        "",
    ]
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    groups = by_command(read_claims())
    files = [claims[0].result for claims in groups]
    for claims in groups:
        one, again = claims[0], record.get(claims[0].command)
        told = f" Last rerun on {again['date']}: {again['says']}." if again else ""
        argument = one.command.partition(".py ")[2] if files.count(one.result) > 1 else ""
        lines += [
            f"## {one.result} {argument}".rstrip(),
            "",
            f"`{one.command}` ({one.minutes:g} minutes). Made on {one.date}.{told}",
            "",
            "| claim | seeds | interval | access of the rule | fairest comparison |",
            "| --- | --- | --- | --- | --- |",
            *(row(claim) for claim in claims),
            "",
        ]
    return "\n".join(lines)


def row(claim: Claim) -> str:
    """One line of the table on the page."""
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


# ------------------------------------------------------------------------------------ rerun


def run_again(command: str, result: str) -> Any:
    """Run a command in a copy of the project without the result; return what it writes."""
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
    """Print recorded and new values.

    Returns the number of values compared and the number outside their intervals.
    """
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
    """Rerun the requested commands; return the number of values outside their intervals."""
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
