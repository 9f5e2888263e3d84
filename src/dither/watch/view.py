"""The elements of the pages of runs and studies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Mood: TypeAlias = Literal["going", "ended", "quiet"]

Cells: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A number with its name and a remark."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class TextTable:
    """Rows of text under headings."""

    title: str
    headings: Cells
    rows: tuple[Cells, ...]


@dataclass(frozen=True)
class Head:
    """The top of a page.

    Attributes: `name`; `folder`; `state`, a few words; `mood`, whether it is going, has ended or
    gives no sign of life; `tiles`; `share`, the finished share, 0 to 1, None if no end is known.
    """

    name: str
    folder: str
    state: str
    mood: Mood
    tiles: tuple[Tile, ...]
    share: float | None


def modified(file: Path) -> float:
    """The modification time of a file, in seconds since the epoch; 0 if it does not exist."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
