"""Oripov2025: the scaling of perturbative training with the size of the network."""

from dither.papers.oripov2025.accuracy import accuracies
from dither.papers.oripov2025.angle import angles
from dither.papers.oripov2025.sweeps import learning_rate, tau_theta
from dither.papers.paper import Paper

ORIPOV2025 = Paper(
    name="oripov2025",
    about="Weight and node perturbation on convolutional networks of growing size",
    figures={"3": angles, "4": accuracies, "5": tau_theta, "6": learning_rate},
)
