"""Prediction of the measurements of a run from its specification."""

import math

from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.planning.boolean import descents, predict_readout
from dither.planning.predict import Prediction, predict
from dither.training.specification import Specification
from dither.training.start import start_of


def predict_run(run: Specification, trajectories: int = 3, seconds: float = math.inf) -> Prediction:
    """Predict the measurements after which a run reaches its target score.

    For a simulated network `predict` integrates the rule's law; for a Boolean readout, further
    instances are trained (`dither.planning.boolean.descents`).

    Arguments: the run, whose `start_from` or seed gives the initial parameters; `trajectories` and
    `seconds`, see `predict`.
    Returns: the `Prediction`: infinite if the budget does not suffice; NaN with a reason if the
    device has no model, the rule has no law, or no target is set.
    """
    if run.until.score is None:
        return Prediction(math.nan, math.nan, math.nan, 0.0, "until.score is not set")
    if not isinstance(run.device, ReadoutDevice):
        start = None
        if run.start_from is not None and isinstance(run.device, SimulatedDevice):
            start = start_of(run.start_from, run.device.space, run.replicas)[0]
        return predict(
            run.device, run.task, run.algorithm, run.until,
            trajectories=trajectories, key=run.seed, seconds=seconds, start=start,
        )  # fmt: skip
    task = run.task.load()
    found = descents(
        run.device, task, run.algorithm, run.until, score_every=run.score_every, seed=run.seed
    )
    return predict_readout(found, run.until)
