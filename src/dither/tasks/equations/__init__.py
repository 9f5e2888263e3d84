"""Differential equations as tasks, one file each."""

from dither.tasks.equations.burgers import Burgers as Burgers
from dither.tasks.equations.convection import Convection as Convection
from dither.tasks.equations.equation import AbstractEquation as AbstractEquation
from dither.tasks.equations.heat import Heat as Heat
from dither.tasks.equations.poisson import AbstractPoisson as AbstractPoisson
from dither.tasks.equations.poisson import Poisson1D as Poisson1D
from dither.tasks.equations.poisson import Poisson2D as Poisson2D
