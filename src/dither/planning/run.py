"""How many measurements a run will take, from its specification alone."""

import math

from dither.devices.readout import ReadoutDevice
from dither.planning.boolean import descents, predict_readout
from dither.planning.predict import Prediction, predict
from dither.training.specification import Specification


def predict_run(run: Specification, trajectories: int = 3, seconds: float = math.inf) -> Prediction:
    """Predict the measurements after which a run has come to its score.

    A simulated network is followed in law by `predict`; of a Boolean readout, other instances are
    trained (`dither.planning.boolean.descents`).

    Arguments: the run, of whose seed the first parameters are; `trajectories` and
    `seconds` of `predict`.
    Returns: the `Prediction`: infinite where the budget does not suffice, NaN with a reason where
    the device has no model, its rule has no law, or no score is set.
    """
    if run.until.score is None:
        return Prediction(math.nan, math.nan, math.nan, 0.0, "until.score is not set")
    if not isinstance(run.device, ReadoutDevice):
        return predict(
            run.device, run.task, run.algorithm, run.until,
            trajectories=trajectories, key=run.seed, seconds=seconds,
        )  # fmt: skip
    task = run.task.load()
    found = descents(
        run.device, task, run.algorithm, run.until, score_every=run.score_every, seed=run.seed
    )
    return predict_readout(found, run.until)
