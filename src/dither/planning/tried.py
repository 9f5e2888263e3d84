"""The best settings of a method, and its prediction with them."""

import math
import time

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.planning.boolean import descents, predict_readout
from dither.planning.methods import Method
from dither.planning.predict import Prediction, predict
from dither.planning.race import raced, trained
from dither.planning.rates import Start, Tried, scanned
from dither.tasks.task import Task
from dither.training.specification import Specification
from dither.training.until import Until

SMALL = 2_000
"""The largest number of parameters for which a prediction uses the rule's law."""

TRAINED = 3
"""The number of simulated trainings of a file's own algorithm."""


def at_its_best(
    run: Specification,
    device: SimulatedDevice,
    task: Task,
    method: Method,
    near: tuple[float, str] | None,
    patience: float,
) -> Tried:
    """The method at its best rate and amplitude; the file's own unchanged.

    A small network is predicted with the rule's law. A large one, and an algorithm without a law,
    is trained in simulation, which takes less time there.

    Arguments: `near`, the best rate and the optimiser of a similar device; `patience`, the
    computing time, s.
    """
    large = device.space.size > SMALL
    shown = device.model_copy(update={"access": method.access.name.lower()})
    end = time.monotonic() + patience / len(method.variants)

    def until(most: float) -> Until:
        budget = min(float(run.until.measurements or 2**31 - 1), most, 2.0**31 - 1)
        return Until(score=run.until.score, measurements=max(1, int(budget)))

    def predicted(algorithm: AbstractAlgorithm, most: float) -> Prediction:
        left = max(0.0, end - time.monotonic())
        return predict(device, task, algorithm, until(most), key=run.seed, seconds=left)

    if method.own:
        own = method.variants[0]
        found = None if large else predicted(own, math.inf)
        if found is None or (math.isnan(found.measurements) and not found.cost_of_prediction):
            seeds = range(run.seed + 1, run.seed + 1 + TRAINED)
            budget, enough = until(math.inf), TRAINED // 2 + 1
            _, found = trained(shown, task, own, seeds, budget, enough, patience)
        return Tried(own, found)
    start = Start.of(device, task, run.seed)
    best: Tried | None = None
    rate, optimizer = near or (None, None)
    for variant in method.variants:
        if optimizer not in (None, variant.optimizer.name):
            continue
        most = math.inf if best is None else best.worth

        def within(algorithm: AbstractAlgorithm, budget: float, most: float = most) -> Prediction:
            return predicted(algorithm, min(budget, most))

        if large:
            left, key = max(0.0, end - time.monotonic()), run.seed + 1
            one = raced(shown, task, variant, start, until(most), near=rate, key=key, seconds=left)
        else:
            one = scanned(variant, start, within, rate)
        best = one if best is None or one.worth < best.worth else best
        end += patience / len(method.variants)
    assert best is not None
    return best


def mirrors(run: Specification, device: ReadoutDevice, task: Task, method: Method) -> Tried:
    """A selection rule for mirrors, by simulated descents."""
    algorithm = method.variants[0]
    found = descents(device, task, algorithm, run.until, score_every=run.score_every, seed=run.seed)
    return Tried(algorithm, predict_readout(found, run.until))
