"""What the pages of runs and studies are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Mood: TypeAlias = Literal["going", "ended", "quiet"]

Cells: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A number with what it is, and a word on it."""

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

    Attributes: `name`; `folder`; `state`, a few words; `mood`, whether something goes on, has ended
    or gives no sign of life; `tiles`; `share` done, from 0 to 1, or None where no end is known.
    """

    name: str
    folder: str
    state: str
    mood: Mood
    tiles: tuple[Tile, ...]
    share: float | None


def modified(file: Path) -> float:
    """When a file was last written, in seconds since the epoch; 0 where there is none."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
