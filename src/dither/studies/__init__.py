"""Studies: many trainings, read as one."""

from dither.studies.curves import FORMS
from dither.studies.fits import Band, Fit, fit, median_with_interval

__all__ = ["FORMS", "Band", "Fit", "fit", "median_with_interval"]
