"""Write the output of the two served-device benchmarks to `docs/results/remote.{json,md}`.

`python benchmarks/remote_results.py SPEED.json KILL.json`
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def number(value: float) -> str:
    """Format a number with spaces as thousands separators."""
    return f"{value:,.0f}".replace(",", " ")


def rows(speed: dict[str, Any], kill: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table: the quantity, the target and the measurement."""
    low, high = kill["bounds"]
    inside = low <= kill["record_least"] and kill["record_greatest"] <= high
    return [
        [
            f"single measurements/s, {speed['parameters']} parameters, loopback",
            "≥ 2 000",
            f"{number(speed['single']['median_per_second'])} by the median call, "
            f"{number(speed['single']['fast_tenth_per_second'])} by the fastest tenth "
            f"(load {speed['load']:.0f} on {speed['cores']} cores)",
        ],
        [
            f"measurements/s in blocks of {speed['block_size']}",
            "≥ 50 000",
            f"{number(speed['block']['median_per_second'])} by the median call, "
            f"{number(speed['block']['fast_tenth_per_second'])} by the fastest tenth",
        ],
        [
            "SIGKILLs of the trainer; while it measured; starts that failed",
            "100; –; 0",
            f"{kill['kills']}; {kill['kills_while_measuring']}; {kill['starts_that_failed']}",
        ],
        [
            "resumed from the last checkpoint; its age at the kill, median and maximum (at "
            f"{kill['checkpoint_seconds']:g} s between checkpoints)",
            "always",
            f"{'always' if kill['resumed_from_the_last_checkpoint'] else 'NOT always'}; "
            f"{kill['age_of_checkpoint_s']['median']:.1f} s, "
            f"{kill['age_of_checkpoint_s']['most']:.1f} s",
        ],
        [
            "longest time from a kill to the safe state of the device",
            "–",
            f"{kill['safe_after_s']['most']:.1f} s",
        ],
        [
            f"writes in the server's record; span, of bounds {low:g} to {high:g}; refused",
            "≥ 10⁶; inside; 0",
            f"{number(kill['record_writes'])}; {kill['record_least']:.3f} to "
            f"{kill['record_greatest']:.3f}, {'inside' if inside else 'OUTSIDE'}; "
            f"{kill['record_refused']}",
        ],
        [
            "evaluations equal to those of the undisturbed run without the network",
            "all",
            f"{'all' if kill['same_as_undisturbed'] else 'NOT all'} {kill['evaluations_compared']}",
        ],
    ]


def main(files: list[str]) -> None:
    """Write both results files."""
    speed, kill = (json.loads(Path(file).read_text(encoding="utf-8")) for file in files)
    found = {"speed": speed, "kill": kill}
    (RESULTS / "remote.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = [["quantity", "target", "measured"], ["---"] * 3, *rows(speed, kill)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in table)
    (RESULTS / "remote.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:3])
