import tempfile
import threading
from pathlib import Path

import dither
from dither.tasks import XOR
from dither.watch import serve

device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 2, 1)))
rule = dither.WeightMGD(learning_rate=0.1, delta=0.01)
stop = threading.Event()
stop.set()
with tempfile.TemporaryDirectory() as folder:
    run = Path(folder, "run")
    dither.train(device, XOR(), rule, until=dither.Until(measurements=200), out=run)
    serve(run, 0, "127.0.0.1", print, stop)
