"""Closed-form laws: what to expect before measuring."""

from dither.laws.estimate import cosine, growth, noise_kappa, ticks_to_angle

__all__ = ["cosine", "growth", "noise_kappa", "ticks_to_angle"]
