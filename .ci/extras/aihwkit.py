import numpy as np
from dither.instruments.aihwkit import AihwkitConnection, AihwkitDevice

AihwkitConnection(object="lab.py:net").check_installed()
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import FloatingPointRPUConfig

device = AihwkitDevice(AnalogLinear(2, 1, rpu_config=FloatingPointRPUConfig()))
device.write(np.array([0.25, -0.5, 1.0]))
assert np.allclose(device.measure(np.array([[2.0, 2.0]])), 0.5)
