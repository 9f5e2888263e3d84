"""Skalli2025: a comparison of model-free training methods for hardware."""

from dither.papers.paper import Paper
from dither.papers.skalli2025.accuracy import accuracies

SKALLI2025 = Paper(
    name="skalli2025",
    about="Model-free training of a small convolutional network, at equal measurements",
    figures={"accuracy": accuracies},
)
