"""Studies: many trainings, read as one."""

from dither.studies.curves import FORMS
from dither.studies.fits import Band, Fit, fit, median_with_interval
from dither.studies.plan import Job, Planned, plan
from dither.studies.run import run_study
from dither.studies.search import Search
from dither.studies.store import load_study
from dither.studies.study import Cell, FitOf, Study, read_study

__all__ = [
    "FORMS",
    "Band",
    "Cell",
    "Fit",
    "FitOf",
    "Job",
    "Planned",
    "Search",
    "Study",
    "fit",
    "load_study",
    "median_with_interval",
    "plan",
    "read_study",
    "run_study",
]
