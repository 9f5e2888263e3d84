"""Andreoli2023: Boolean coordinate descent on photonic reservoirs and its scaling."""

from dither.papers.andreoli2023.noise import noise
from dither.papers.andreoli2023.rules import rules
from dither.papers.andreoli2023.scaling import constant, curves, exponents
from dither.papers.paper import Paper

ANDREOLI2023 = Paper(
    name="andreoli2023",
    about="Boolean coordinate descent on photonic reservoirs: convergence, its scaling, rules",
    figures={
        "curves": curves,
        "constant": constant,
        "exponents": exponents,
        "rules": rules,
        "noise": noise,
    },
    keeps=False,
)
