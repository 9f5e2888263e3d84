"""What is written: a setting that the device holds is not written again."""

import numpy as np
import pytest

import dither
from dither.algorithms import NodePerturbation, WeightMGD
from dither.instruments import Guard, PythonDevice
from dither.tasks import make_task
from dither.testing.devices import FlakyDevice, NumpyDevice

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.integers(0, 2, 12)
TASK = make_task(X, Y, X, Y, batch=4)
NODES = {"learning_rate": 0.05, "per_example": True}


def neurons():
    """The NumPy network with something to be added at its neurons."""
    device = NumpyDevice((3, 4, 2))
    device.show_sites()
    return device


def run(device, algorithm, n, **settings):
    return dither.train(device, TASK, algorithm, until=dither.Until(measurements=n), **settings)


@pytest.mark.long
@pytest.mark.parametrize(("pairs", "tau_theta"), [("baseline", 1), ("central", 1), ("baseline", 5)])
def test_node_perturbation_writes_what_an_update_has_changed(pairs, tau_theta):
    """By count: `writes ≤ updates + evaluations + 1`, on the device's own record."""
    algorithm = NodePerturbation(pairs=pairs, tau_theta=tau_theta, **NODES)
    device = neurons()
    result = run(device, algorithm, 300, score_every=100)
    parts = 2 if pairs == "central" or tau_theta == 1 else None
    updates = 300 // parts if parts else 300 // tau_theta
    evaluations = len(result.history) + 1
    assert device.writes == result.ledger["writes"] <= updates + evaluations + 1
    chip = dither.SimulatedDevice(network=dither.MLP(widths=(3, 4, 2)), access="sites")
    fused = run(chip, algorithm, 300, score_every=100)
    assert fused.ledger["writes"] <= updates + 1
    assert fused.ledger["measurements"] == 300


@pytest.mark.parametrize("pairs", ["baseline", "central"])
def test_weight_perturbation_writes_for_every_measurement(pairs):
    algorithm = WeightMGD(learning_rate=0.05, delta=0.01, pairs=pairs)
    chip = dither.SimulatedDevice(network=dither.MLP(widths=(3, 4, 2)), access="outputs")
    result = run(chip, algorithm, 200)
    assert result.ledger["writes"] == result.ledger["measurements"] == 200


def test_a_failure_makes_the_next_write_certain():
    """Whatever the device held before a failure, it is programmed again after it."""
    device = PythonDevice(neurons())
    theta = np.zeros(device.extent.size)
    for _ in range(3):
        device.write(theta)
    assert device.writes() == 1
    device.recover(1)
    device.write(theta)
    device.write(theta)
    assert device.writes() == 1


def test_rewrite_writes_again():
    device = PythonDevice(neurons(), guard=Guard(rewrite=True))
    for _ in range(3):
        device.write(np.zeros(device.extent.size))
    assert device.writes() == 3


def test_the_count_is_the_devices_own_with_failures():
    device = FlakyDevice(0.2, seed=3)
    result = run(device, WeightMGD(learning_rate=0.05, delta=0.01), 150, score_every=50)
    assert device.writes == result.ledger["writes"]


@pytest.mark.long
def test_seconds_and_joules_follow_the_writes():
    """`writes · per write + measurements · per measurement`, by hand."""
    chip = dither.SimulatedDevice(
        network=dither.MLP(widths=(3, 4, 2)),
        access="sites",
        seconds_per_write=1.0,
        seconds_per_measurement=0.001,
        joules_per_write=2.0,
        joules_per_measurement=0.5,
    )
    spent = run(chip, NodePerturbation(**NODES), 100).ledger
    assert spent["writes"] < 60
    assert spent["device_seconds"] == pytest.approx(spent["writes"] + spent["perturbations"] + 0.1)
    assert spent["joules"] == pytest.approx(2 * (spent["writes"] + spent["perturbations"]) + 50)


COSTS = {
    "seconds_per_write": 1.0, "seconds_per_measurement": 0.001, "joules_per_write": 2.0,
    "joules_per_measurement": 0.5,
}  # fmt: skip


def simulated(**costs):
    return dither.SimulatedDevice(network=dither.MLP(widths=(3, 4, 2)), access="sites", **costs)


@pytest.mark.quick("algorithm0-50", "algorithm4-0")
@pytest.mark.parametrize(
    ("algorithm", "perturbations"),
    [
        # two measurements an update: the reference, of which nothing is added, and the perturbed
        (NodePerturbation(**NODES), 50),
        (NodePerturbation(pairs="central", **NODES), 100),
        # a reference for each batch of one tick, then a perturbed one for each of two layers
        (NodePerturbation(layers="each", **NODES), 66),
        (NodePerturbation(tau_theta=4, tau_x=4, **NODES), 80),
        (WeightMGD(learning_rate=0.05, delta=0.01, pairs="central"), 0),
    ],
)
def test_perturbations_at_the_neurons_are_counted(algorithm, perturbations):
    """By count, the same on a simulation and around a Python device."""
    fused = run(simulated(), algorithm, 100, score_every=10**6)
    assert fused.ledger["perturbations"] == perturbations
    # the self-test and the look at 12 samples in batches of 4 are measurements without any
    hosted = run(neurons(), algorithm, 104, score_every=10**6)
    assert hosted.ledger["perturbations"] == perturbations
    assert hosted.history["perturbations"].iloc[-1] == perturbations


@pytest.mark.parametrize(
    ("own", "seconds", "joules"),
    [
        ({}, 1.0, 2.0),
        ({"seconds_per_perturbation": 0.25, "joules_per_perturbation": 0.125}, 0.25, 0.125),
        ({"seconds_per_perturbation": 0.0, "joules_per_perturbation": 0.0}, 0.0, 0.0),
    ],
)
def test_a_perturbation_costs_as_a_write_or_what_is_said(own, seconds, joules):
    """`writes · per write + perturbations · per perturbation + measurements · …`, by hand."""
    spent = run(simulated(**COSTS, **own), NodePerturbation(**NODES), 100).ledger
    assert spent["perturbations"] == 50
    assert spent["device_seconds"] == pytest.approx(spent["writes"] + 50 * seconds + 0.1)
    assert spent["joules"] == pytest.approx(2 * spent["writes"] + 50 * joules + 50)


def test_time_on_the_device_ends_a_run_with_its_perturbations():
    """A tick of 1 write, 2 measurements and 1 perturbation takes 1 + 0.002 + 1 s."""
    rule, until = NodePerturbation(**NODES), dither.Until(device_seconds=50.0)
    result = dither.train(simulated(**COSTS), TASK, rule, until=until)
    assert result.stop_reason == "device_seconds"
    assert 50 <= result.ledger["device_seconds"] <= 52.1


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_perturbation_that_fails_is_one_too(share):
    """As a write and a measurement that fail are: fused, the share of fails is of both parts."""
    failing = simulated(imperfections=({"kind": "failed-reads", "probability": share},))
    spent = run(failing, NodePerturbation(pairs="central", **NODES), 200).ledger
    assert spent["perturbations"] == spent["measurements"] == 200
    assert (spent["failed"] > 0) == (share > 0)


class FlakyNeurons(FlakyDevice):
    """The same as `neurons`, and one measurement in ten fails."""

    def __init__(self):
        super().__init__(0.1, seed=5, widths=(3, 4, 2))
        self.show_sites()


@pytest.mark.long
@pytest.mark.parametrize("pairs", ["baseline", "central"])
@pytest.mark.parametrize("layers", ["all", "each"])
def test_node_perturbation_writes_once_more_for_a_failure(pairs, layers):
    """`writes ≤ updates + evaluations + 1 + failures`, on the device's own record."""
    device = FlakyNeurons()
    algorithm = NodePerturbation(pairs=pairs, layers=layers, **NODES)
    result = run(device, algorithm, 300, score_every=100)
    turns = 2 if layers == "each" else 1
    updates = 300 // (2 * turns if pairs == "central" else turns + 1)
    evaluations = len(result.history) + 1
    assert device.failures == result.ledger["failed"] > 10
    assert device.writes == result.ledger["writes"]
    assert device.writes <= updates + evaluations + 1 + device.failures


def kept(settings):
    """How many of some settings one after another are those of before."""
    settings = np.asarray(settings)
    return int(np.all(settings[1:] == settings[:-1], axis=1).sum())


@pytest.mark.parametrize("pairs", ["central", "baseline"])
def test_a_python_device_is_written_once_for_a_weight_perturbation(pairs):
    """One for each measurement of training, one for a look at three batches, one for the start."""
    device = NumpyDevice((3, 4, 2), initial=0.1 * np.arange(26))
    rule = WeightMGD(learning_rate=0.05, delta=0.01, pairs=pairs)
    result = run(device, rule, 200, score_every=60)
    looks = len(result.history)
    trained = result.ledger["measurements"] - 3 * looks - 1
    assert device.writes == result.ledger["writes"] <= trained + looks + 1
    assert kept(device.received) == 0


def test_the_same_through_the_network(tmp_path):
    """The device behind the server is written as often as the one that is at hand."""
    from dither.instruments.network import RemoteDevice
    from dither.remote.security import token_of
    from dither.remote.server import DeviceServer

    token = tmp_path / "token"
    token_of(token)
    rule = WeightMGD(learning_rate=0.05, delta=0.01, pairs="central")
    near, behind = (NumpyDevice((3, 4, 2), initial=0.1 * np.arange(26)) for _ in range(2))
    alone = run(near, rule, 200, score_every=60)
    server = DeviceServer(PythonDevice(behind), token_file=token)
    server.start()
    try:
        far = RemoteDevice(address=server.address, token_file=token)
        result = run(far, rule, 200, score_every=60)
    finally:
        server.stop()
    assert np.array_equal(result.parameters, alone.parameters)
    assert behind.writes == result.ledger["writes"] == near.writes
    assert kept(behind.received) == 0


def test_the_same_in_scpi():
    """One command for each write, of so many bytes; what is held is not sent again."""
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    from test_cases_lab import TASK as XOR_TASK
    from test_cases_lab import Instrument

    rule = WeightMGD(learning_rate=0.05, delta=0.05, pairs="central")
    with Instrument() as instrument:
        result = dither.train(
            instrument.specification(), XOR_TASK, rule, until=dither.Until(measurements=80),
            score_every=30,
        )  # fmt: skip
        sent = [values.split(",") for values in instrument.settings]
    assert len(sent) == result.ledger["writes"]
    assert kept(sent) == 0
    looks = len(result.history)
    batches = -(-len(XOR_TASK.test_inputs) // XOR_TASK.batch)
    trained = result.ledger["measurements"] - batches * looks - 1
    assert len(sent) <= trained + looks + 1
    # nine values of eight letters and a sign at the most, commas, the command and its end
    total = sum(len(f"SOUR {','.join(values)}\n") for values in sent)
    assert total <= len(sent) * (9 * 9 + 8 + len("SOUR \n"))
