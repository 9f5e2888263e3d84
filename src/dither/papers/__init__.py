"""Reproductions of published figures."""

from dither._errors import RequestError, nearest
from dither.papers.andreoli2023 import ANDREOLI2023
from dither.papers.mccaughan2023 import MCCAUGHAN2023
from dither.papers.oripov2025 import ORIPOV2025
from dither.papers.paper import Made as Made
from dither.papers.paper import Observe as Observe
from dither.papers.paper import Paper as Paper
from dither.papers.paper import Row as Row
from dither.papers.skalli2025 import SKALLI2025

PAPERS: dict[str, Paper] = {
    paper.name: paper for paper in (ANDREOLI2023, MCCAUGHAN2023, ORIPOV2025, SKALLI2025)
}
"""The papers of `dither paper`, by name."""


def find_paper(name: str) -> Paper:
    """The paper with a name.

    Errors: `RequestError` for an unknown one.
    """
    if name not in PAPERS:
        raise RequestError(f"There is no paper '{name}'; {nearest(name, PAPERS)}")
    return PAPERS[name]
