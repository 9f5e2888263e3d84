"""MLflow."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dither._errors import RequestError
from dither._files import write_atomically
from dither.training.stop import StopReason
from dither.training.trackers.tracker import AbstractTracker

RUN_ID = "mlflow-run"
"""The file in a run's folder with its MLflow run ID, for a resume."""

EXPERIMENT = "dither"


class MLflow(AbstractTracker):
    """Logs to MLFLOW_TRACKING_URI, or else to `mlflow.db` next to the run's folder.

    The experiment is that of MLFLOW_EXPERIMENT_NAME, or `dither`.
    """

    client: Any
    run: str
    known: int

    @staticmethod
    def check_installed() -> None:
        """Import the client. Errors: `ImportError`."""
        import mlflow  # noqa: F401  # only whether it is there

        if "MLFLOW_TRACKING_URI" not in os.environ:  # needed for a database file
            import alembic  # noqa: F401
            import sqlalchemy  # noqa: F401

    def begin(self, out: Path, name: str, settings: Mapping[str, str]) -> None:
        """Begin a record, or continue the one of this folder."""
        from mlflow import MlflowClient

        where = tracking_uri(out)
        try:
            self.client = MlflowClient(where)
            self._open(out, name, settings)
        except RequestError:
            raise
        except Exception as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise RequestError(
                f"MLflow cannot log to {where}: {said}; check MLFLOW_TRACKING_URI."
            ) from None

    def _open(self, out: Path, name: str, settings: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        file = out / RUN_ID
        self.known = -1
        if file.is_file():
            self.run = file.read_text(encoding="utf-8").strip()
            so_far = self.client.get_run(self.run).data.metrics
            self.known = int(so_far.get("measurements", -1))
            self.client.update_run(self.run, status="RUNNING")
            return
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(title)
        experiment = found.experiment_id if found else self.client.create_experiment(title)
        self.run = self.client.create_run(experiment, run_name=name).info.run_id
        given = [Param(key, value) for key, value in settings.items()]
        self.client.log_batch(self.run, params=given)
        self.client.set_tag(self.run, "folder", str(out.absolute()))
        write_atomically(file, self.run.encode())

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send one evaluation, unless it was already sent before a resume."""
        from mlflow.entities import Metric

        if step <= self.known:
            return
        now = round(time.time() * 1000)
        sent = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=sent)

    def close(self, reason: StopReason) -> None:
        """Close the record with the reason for the end."""
        self.client.set_tag(self.run, "stop_reason", str(reason))
        self.client.set_terminated(self.run, "FAILED" if reason.failed else "FINISHED")


def tracking_uri(out: Path) -> str:
    """The tracking URI of a run."""
    beside = out.absolute().parent / "mlflow.db"
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside}"
