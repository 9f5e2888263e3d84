"""McCaughan2023: multiplexed gradient descent, its codes, its time constants, imperfections."""

from dither.papers.mccaughan2023.codes import codes, tau_theta
from dither.papers.mccaughan2023.hardware import hardware
from dither.papers.mccaughan2023.scale import FULL, QUICK, Scale
from dither.papers.mccaughan2023.sweeps import SWEEPS
from dither.papers.paper import Paper

MCCAUGHAN2023 = Paper[Scale](
    name="mccaughan2023",
    about="Multiplexed gradient descent: codes, time constants, imperfections, hardware times",
    figures={**SWEEPS, "codes": codes, "tau-theta": tau_theta, "hardware": hardware},
    full=FULL,
    quick=QUICK,
)
