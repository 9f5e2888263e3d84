"""Studies: grids of trainings and their joint evaluation."""

from dither.studies.curves import FORMS as FORMS
from dither.studies.fits import Band as Band
from dither.studies.fits import Fit as Fit
from dither.studies.fits import fit as fit
from dither.studies.fits import median_with_interval as median_with_interval
from dither.studies.plan import Job as Job
from dither.studies.plan import Planned as Planned
from dither.studies.plan import plan as plan
from dither.studies.run import run_study as run_study
from dither.studies.search import Search as Search
from dither.studies.store import load_study as load_study
from dither.studies.study import Cell as Cell
from dither.studies.study import FitOf as FitOf
from dither.studies.study import Study as Study
from dither.studies.study import read_study as read_study
