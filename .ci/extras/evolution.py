import dither
from dither.algorithms import Evolution
from dither.tasks import XOR

device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 2, 1)))
dither.train(
    device, XOR(), Evolution(strategy="SNES", population=10), until=dither.Until(measurements=200)
)
