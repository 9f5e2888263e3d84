"""Number formats, the same on the command line, on pages, in figures and in reports."""

import math
import time
from typing import TypeAlias

Plain: TypeAlias = bool | int | float | str
"""The value of a table cell."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Superscripts for exponents."""

THIN = "\u202f"
"""The thousands separator: a narrow no-break space."""


def count(value: int | float, gap: str = " ") -> str:
    """A whole number in groups of three: 12 500."""
    return f"{round(value):,}".replace(",", gap).replace("-", "−")


def number(value: Plain | None) -> str:
    """A number to four digits, whole numbers in full: 0.7071, 12 500, ∞; a dash for None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "—"
    if isinstance(value, str | bool):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e9 and (value == round(value) or abs(value) >= 1e4):
        return count(value, THIN)
    return f"{value:.4g}".replace("-", "−")


def estimate(value: float, low: float, high: float) -> str:
    """An estimate and its interval, to the digits that its width justifies: 1.02 (0.97–1.08)."""
    size = high - low if 0 < high - low < math.inf else abs(value)
    digits = 1 - math.floor(math.log10(size)) if 0 < size < math.inf else 2
    if 0 < abs(value) < math.inf:
        digits = min(digits, 3 - math.floor(math.log10(abs(value))))

    def written(one: float) -> str:
        if math.isinf(one):
            return number(one)
        return f"{round(one, digits):.{max(digits, 0)}f}".replace("-", "−")

    return f"{written(value)} ({written(low)}{'–' if low >= 0 else ' to '}{written(high)})"


def rounded(value: int | float, digits: int) -> float:
    """A number rounded to some significant digits."""
    return float(f"{value:.{digits}g}")


def short(value: int | float) -> str:
    """A number for an axis or a heat map: 950, 12k, 3.5M, 0.02, 10⁻⁵."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    digits, _, exponent = f"{value:.3g}".partition("e")
    if not exponent:
        return digits.replace("-", "−")
    power = f"10{str(int(exponent)).translate(RAISED)}"
    return power if digits == "1" else f"{digits.replace('-', '−')}·{power}"


def text_of(value: Plain, most: int | None = None) -> str:
    """A value of an axis: 0.5, and 1 for 1.0; at most `most` characters."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def duration(seconds: int | float) -> str:
    """A duration in its two largest units: 2 h 5 min."""
    whole = round(seconds)
    for name, unit, finer, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // part} {finer}"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole} s" if seconds >= 1 or seconds == 0 else f"{seconds:.2g} s"


def clock(moment: float) -> str:
    """A time stamp, in seconds since the epoch, as local time; with the date if it is old."""
    day = "" if time.time() - moment < 12 * 3600 else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M:%S", time.localtime(moment))
