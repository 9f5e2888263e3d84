import tempfile
from pathlib import Path

import dither
from dither.tasks import XOR

device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 2, 1)))
rule = dither.WeightMGD(learning_rate=0.1, delta=0.01)
until = dither.Until(measurements=200)
with tempfile.TemporaryDirectory() as folder:
    dither.train(device, XOR(), rule, until=until, out=Path(folder, "run"), track="tensorboard")
