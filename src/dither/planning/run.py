"""How many measurements a run will take, from its specification alone."""

import math

from dither.devices.readout import ReadoutDevice
from dither.planning.boolean import descents, predict_readout, silent
from dither.planning.predict import Prediction, predict
from dither.training.specification import Specification


def predict_run(run: Specification, trajectories: int = 3) -> Prediction:
    """Predict the measurements after which a run has come to its score.

    A simulated network is followed in law by `predict`; for a Boolean readout, surrogates of its
    reservoir are descended (`dither.planning.boolean.descents`).

    Arguments: the run, of whose seed the first parameters are; `trajectories` of `predict`, ≥ 1.
    Returns: the `Prediction`: infinite where the budget does not suffice, NaN with a reason where
    the device has no model, its rule has no law, or no score is set.
    """
    if run.until.score is None:
        return _silent("until.score is not set")
    if not isinstance(run.device, ReadoutDevice):
        return predict(
            run.device, run.task, run.algorithm, run.until,
            trajectories=trajectories, key=run.seed,
        )  # fmt: skip
    task = run.task.load()
    why = silent(run.device)
    if not task.display.lacking:
        why = "there is no law yet for a readout's score other than 1 − NMSE"
    if why:
        return _silent(why)
    found = descents(
        run.device, task, run.algorithm, run.until, score_every=run.score_every, seed=run.seed
    )
    return predict_readout(found, run.until)


def _silent(why: str) -> Prediction:
    return Prediction(math.nan, math.nan, math.nan, 0.0, why)
