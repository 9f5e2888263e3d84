from dither.algorithms import WeightMGD
from dither.interop.gest import DitherGenerator

from gest_api.vocs import VOCS

vocs = VOCS(variables={"x": [0.0, 1.0]}, objectives={"cost": "MINIMIZE"})
assert len(DitherGenerator(vocs, WeightMGD(learning_rate=0.1, delta=0.01)).suggest(1)) == 1
