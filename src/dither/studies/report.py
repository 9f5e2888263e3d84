"""The report of a study."""

from pathlib import Path


def write_report(folder: Path) -> Path:
    """Write `report.html`."""
    return folder / "report.html"
