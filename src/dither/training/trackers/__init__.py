"""Trackers send the history of a run to other programs."""

from pathlib import Path

from dither._errors import RequestError, nearest
from dither.training.trackers.mlflow import MLflow as MLflow
from dither.training.trackers.tensorboard import TensorBoard as TensorBoard
from dither.training.trackers.tracker import AbstractTracker as AbstractTracker

TRACKERS: dict[str, type[AbstractTracker]] = {"mlflow": MLflow, "tensorboard": TensorBoard}
"""The trackers that `--track` can select."""


def find_tracker(name: str, out: Path | None) -> type[AbstractTracker]:
    """A tracker by its name.

    Errors: `RequestError` for an unknown tracker, a missing package, or a run without a folder.
    """
    if name not in TRACKERS:
        raise RequestError(f"There is no tracker '{name}'; {nearest(str(name), TRACKERS)}")
    if out is None:
        raise RequestError("Tracking needs the run's folder; give out.")
    try:
        TRACKERS[name].check_installed()
    except ImportError:
        raise RequestError(
            f"Tracking with {name} needs its package; run pip install 'dither[{name}]'."
        ) from None
    return TRACKERS[name]
