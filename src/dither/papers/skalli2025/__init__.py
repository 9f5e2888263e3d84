"""Skalli2025: ways to train hardware without a model, compared."""

from dither.papers.paper import Paper
from dither.papers.skalli2025.accuracy import accuracies

SKALLI2025 = Paper(
    name="skalli2025",
    about="Model-free training of a small convolutional network, at equal measurements",
    figures={"accuracy": accuracies},
)
