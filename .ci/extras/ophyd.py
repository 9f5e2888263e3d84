import numpy as np
from dither.instruments.ophyd import OphydConnection, OphydDevice

OphydConnection(object="lab.py:axis", parameters=["x"], outputs=["y"]).check_installed()
from ophyd.sim import SynAxis

axis = SynAxis(name="axis")
device = OphydDevice([axis], [axis])
device.write(np.array([0.5]))
assert device.read()[0] == 0.5
