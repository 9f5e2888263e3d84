from dither.instruments.qcodes import QcodesConnection, QcodesDevice

QcodesConnection(object="lab.py:dac", parameters=["ch1"], outputs=["ch2"]).check_installed()
from qcodes.parameters import ManualParameter
from qcodes.validators import Numbers

gate, meter = ManualParameter("gate", vals=Numbers(-2, 3)), ManualParameter("meter")
assert QcodesDevice([gate], [meter]).limits(gate) == (-2.0, 3.0)
