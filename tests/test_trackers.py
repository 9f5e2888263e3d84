"""Trackers: what the clients' own readers give back is the history; a failing one stops no run."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice, Until, WeightMGD
from dither.tasks import XOR
from dither.training import trackers
from dither.training.history import COLUMNS

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0), seconds_per_measurement=0.25)
SENT = [name for name in COLUMNS if name != "joules"]

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
# what the clients do at home
of_the_clients = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def train(tmp_path, measurements=50, name="one", **more):
    algorithm = WeightMGD(learning_rate=0.05, delta=0.01)
    settings = {"score_every": 20, "key": 1, "until": Until(measurements=measurements), **more}
    return dither.train(DEVICE, XOR(), algorithm, out=tmp_path / "runs" / name, **settings)


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }, events


@needs_tensorboard
@of_the_clients
def test_tensorboard_reads_the_history(tmp_path):
    result = train(tmp_path, track="tensorboard")
    read, events = scalars(tmp_path / "runs" / "one" / "tensorboard")
    assert result.history["drift"].isna().all()  # not watched, and not sent
    for name in set(SENT) - {"drift"}:
        steps, values = zip(*read[name])
        assert list(steps) == list(result.history["measurements"]) == [20, 40, 50]
        np.testing.assert_allclose(values, result.history[name], rtol=1e-6)
    text = events.Tensors("specification/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| algorithm.learning_rate | 0.05 |" in text


@needs_tensorboard
@of_the_clients
def test_a_resumed_run_is_in_tensorboard_once(tmp_path):
    train(tmp_path, 40, track="tensorboard")
    result = train(tmp_path, 80, resume=True, track="tensorboard")
    read, _ = scalars(tmp_path / "runs" / "one" / "tensorboard")
    assert read["cost"] == [
        (step, pytest.approx(cost, rel=1e-6))
        for step, cost in zip(result.history["measurements"], result.history["cost"])
    ]


@needs_tensorboard
@of_the_clients
def test_of_replicas_the_median_is_sent_with_the_last_values_of_those_that_ended(tmp_path):
    wide = SimulatedDevice(network=MLP(widths=(2, 8, 1), gain=2.0))
    algorithm = dither.Backpropagation(learning_rate=0.02, optimizer="adam")
    result = dither.train(
        wide, XOR(batch=2), algorithm, until=Until(score=1.0, measurements=400), replicas=5,
        key=1, score_every=20, out=tmp_path / "run", track="tensorboard",
    )  # fmt: skip
    assert len({replica.ledger["measurements"] for replica in result.replicas}) > 1
    curves = result.history.pivot_table(index="measurements", columns="replica", values="cost")
    expected = np.median(curves.ffill().to_numpy(), axis=1)
    steps, values = zip(*scalars(tmp_path / "run" / "tensorboard")[0]["cost"])
    assert list(steps) == list(curves.index)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@needs_mlflow
@of_the_clients
def test_mlflow_reads_the_history_and_a_resume_goes_on_with_the_record(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(tmp_path, 40, track="mlflow")
    result = train(tmp_path, 50, resume=True, track="mlflow")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["mlflow.db", "one"]
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("dither").experiment_id
    (run,) = client.search_runs([experiment])
    for name in set(SENT) - {"drift"}:
        sent = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in sent] == list(result.history["measurements"])
        assert [metric.value for metric in sent] == list(result.history[name])
    assert run.data.params["algorithm.learning_rate"] == "0.05"
    assert run.data.params["device.network.widths"] == "[2, 2, 1]"
    assert run.data.tags["stop_reason"] == "measurements"
    assert run.info.status == "FINISHED"


@needs_mlflow
@of_the_clients
def test_mlflow_logs_where_the_environment_says(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/elsewhere")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "bench 3")
    train(tmp_path, track="mlflow")
    client = MlflowClient(f"file://{tmp_path}/elsewhere")
    (run,) = client.search_runs([client.get_experiment_by_name("bench 3").experiment_id])
    assert run.data.metrics["measurements"] == 50
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://")
    with pytest.raises(RequestError, match="MLflow cannot log to nonsense://"):
        train(tmp_path, name="two", track="mlflow")
    assert not (tmp_path / "runs" / "two").exists()


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, monkeypatch):
    class Broken(trackers.AbstractTracker):
        @staticmethod
        def check_installed():
            pass

        def begin(self, out, name, settings):
            pass

        def log(self, *_):
            raise ConnectionError("no route to host")

        def close(self, *_):
            raise AssertionError("it had failed before")

    monkeypatch.setitem(trackers.TRACKERS, "broken", Broken)
    with pytest.warns(UserWarning, match=r"Broken stopped \(no route to host\); the run continues"):
        tracked = train(tmp_path, track="broken")
    plain = train(tmp_path, name="two")
    assert np.array_equal(tracked.parameters, plain.parameters)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"track": "mlfow"}, "There is no tracker 'mlfow'; did you mean mlflow"),
        ({"track": "mlflow", "out": None}, "Tracking needs the run's folder"),
    ],
)
def test_what_cannot_be_tracked_is_refused(settings, sentence):
    algorithm = WeightMGD(learning_rate=0.05, delta=0.01)
    with pytest.raises(RequestError, match=sentence):
        dither.train(DEVICE, XOR(), algorithm, until=Until(measurements=5), **settings)


@pytest.mark.parametrize(
    ("name", "client"), [("mlflow", "mlflow"), ("tensorboard", "tensorboardX")]
)
def test_a_missing_client_is_one_sentence(tmp_path, name, client):
    code = f"import sys; sys.modules['{client}'] = None; from dither.cli import main; main()"
    asked = ["train", "xor", "--track", name, "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"dither: Tracking with {name} needs its package; run pip install 'dither[{name}]'.\n"
    )
    assert not (tmp_path / "run").exists()
