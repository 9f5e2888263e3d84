"""McCaughan2023: multiplexed gradient descent, codes, time constants, imperfections."""

from functools import partial

from dither.papers.mccaughan2023.figures import LABELS, codes, hardware, sweep, tau_theta
from dither.papers.paper import Paper

MCCAUGHAN2023 = Paper(
    name="mccaughan2023",
    about="Multiplexed gradient descent: codes, time constants, imperfections, hardware times",
    figures={
        **{name: partial(sweep, name) for name in LABELS},
        "codes": codes,
        "tau-theta": tau_theta,
        "hardware": hardware,
    },
)
