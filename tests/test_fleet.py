"""Fleets: several devices trained as one, real and simulated."""

import math
import sys
import time
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import RequestError, RunError, SimulatedDevice, Until, WeightMGD, cli
from dither._threefry import random_key
from dither.algorithms import Backpropagation, NodePerturbation
from dither.codes import Walsh
from dither.contract import AccessLevel, Batch, Status
from dither.devices import (
    DAC,
    AbstractImperfection,
    Air,
    FailedReads,
    Fleet,
    Mismatch,
    OutputNoise,
)
from dither.devices.air import rayleigh, stable
from dither.devices.device import specimen_key
from dither.devices.fleet import PATIENCE, Attendance
from dither.instruments import PythonFleet
from dither.tasks import NIST7x7, Parity, Shards
from dither.tasks.dealt import dealt
from dither.testing.devices import NumpyDevice
from dither.testing.runs import DEVICE, NETWORK, P, same_run
from dither.training import load_run, to_toml

TASK = Parity(bits=3, batch=3)
RULE = WeightMGD(learning_rate=0.05, delta=0.1)
CHIP = SimulatedDevice(
    network=NETWORK, imperfections=(Mismatch(gain=0.1, offset=0.05), OutputNoise(sigma=0.01))
)
EXACT = SimulatedDevice(network=NETWORK, imperfections=(Mismatch(gain=0.3),))


@pytest.fixture
def shell(monkeypatch):
    """Runs a command in this process; its exit status."""

    def run(*arguments):
        # JAX has been used, and its processors cannot be counted anew
        monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
        monkeypatch.setattr("dither._interrupt._HEARD", [])  # signals of other tests
        monkeypatch.setattr("sys.argv", ["dither", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code

    return run


def train(device, n=200, rule=RULE, task=TASK, **more):
    return dither.train(
        device, task, rule, key=3, until=Until(measurements=n), **{"score_every": 50, **more}
    )


class Scaled(AbstractImperfection):
    """Every parameter times `factor`."""

    factor: float

    def parameters(self, instance, theta):
        del instance
        return self.factor * theta


class Chip(NumpyDevice):
    """The same in NumPy; it fails in the rounds that it is told."""

    def __init__(self, factor=1.0, seconds=0.0, **settings):
        super().__init__(**settings)
        self.factor, self.seconds, self.broken = factor, seconds, False

    def measure(self, inputs):
        time.sleep(self.seconds)
        if self.broken:
            self.calls += 1
            raise OSError("no light")
        return super().measure(inputs)

    def forward(self, inputs):
        theta, self.theta = self.theta, self.factor * self.theta
        try:
            return super().forward(inputs)
        finally:
            self.theta = theta


# ---------------------------------------------------------------------- what a fleet is


@pytest.mark.long
@pytest.mark.parametrize(
    ("imperfections", "rule"),
    [
        # with a code that the compiled loop of a single device does not know
        (CHIP.imperfections, WeightMGD(learning_rate=0.05, delta=0.1, code=Walsh())),
        ((*CHIP.imperfections, FailedReads(probability=0.2)), RULE),
        ((), NodePerturbation(learning_rate=0.1, delta=0.1)),
        ((Mismatch(gain=0.1),), Backpropagation(learning_rate=0.5)),
    ],
    ids=["noisy", "failing", "sites", "gradients"],
)
def test_a_fleet_of_one_is_the_device_bit_for_bit(imperfections, rule):
    device = SimulatedDevice(network=NETWORK, imperfections=imperfections)
    same_run(train(device, rule=rule), train(Fleet(devices=(device,)), rule=rule))


@pytest.mark.parametrize("makes", [(EXACT,), (EXACT, DEVICE)], ids=["alike", "of two makes"])
def test_what_is_measured_is_the_mean_over_the_devices(makes):
    fleet, key = Fleet(devices=makes, copies=2), jax.random.key(5)
    task = fleet.deal(TASK.load())
    rows = task.sample(jax.random.key(1), jnp.int32(4))
    batch = Batch(task.inputs[rows], task.targets[rows])
    theta, see = fleet.initial(jax.random.key(2)), AccessLevel.GRADIENTS
    state = fleet.write(fleet.fabricate(key), theta, jnp.bool_(False))
    seen, status, _ = fleet.measure(state, batch, task.cost, None, see)
    assert status == Status.DONE
    costs, gradients = [], []
    for n in range(fleet.count):
        make, chip = fleet.specimen(key, n)
        chip = make.write(chip, theta, jnp.bool_(False))
        mine = Batch(batch.inputs[n :: fleet.count], batch.targets[n :: fleet.count])
        one, _, _ = make.measure(chip, mine, task.cost, None, see)
        costs.append(one.cost)
        gradients.append(one.gradient)
        assert np.allclose(seen.outputs.y[n :: fleet.count], one.outputs.y, atol=1e-6)
        assert np.allclose(seen.sites.costs[n :: fleet.count], one.sites.costs, atol=1e-6)
        for layer, x in one.sites.inputs.items():
            assert np.allclose(seen.sites.inputs[layer][n :: fleet.count], x, atol=1e-6)
    assert len({float(cost) for cost in costs}) == 1 + len(makes)
    assert np.isclose(seen.cost, np.mean(costs), rtol=1e-6)
    assert np.allclose(seen.gradient, np.mean(gradients, axis=0), atol=1e-6)


@pytest.mark.long
def test_every_device_is_perturbed_at_its_own_neurons():
    # the estimate of node perturbation, averaged over many draws, is the mean of the gradients
    fleet = Fleet(devices=(EXACT,), copies=2)
    rule = NodePerturbation(learning_rate=1.0, delta=0.01, tau_theta=4000)
    exact = Backpropagation(learning_rate=1.0)
    ends = []
    for one, n in ((rule, 8001), (exact, 1)):
        result = train(fleet, n, one, Parity(bits=3), score_every=10_000)
        ends.append(result.parameters[0])
    initial, *_ = jax.random.split(random_key(3), 4)
    starts = np.asarray(fleet.initial(initial))
    step, gradient = (end - starts for end in ends)
    assert step @ gradient / np.linalg.norm(step) / np.linalg.norm(gradient) > 0.95


def test_simulated_and_real_fleets_go_the_same_way():
    factors = (1.0, 0.8, 1.3)
    start = np.asarray(DEVICE.initial(jax.random.split(random_key(3), 4)[0]))
    fleet = [SimulatedDevice(network=NETWORK, imperfections=(Scaled(factor=f),)) for f in factors]
    chips = [Chip(f, initial=start) for f in factors]
    simulated, real = train(fleet), train(chips, n=200 + 1 + 4 * 4)
    assert np.allclose(simulated.parameters, real.parameters, atol=2e-4)
    assert simulated.score == real.score
    scores = [result.devices["test_cost"].to_numpy(float) for result in (simulated, real)]
    assert np.allclose(*scores, atol=1e-3)
    assert len({round(cost, 4) for cost in scores[0]}) == 3


def test_devices_in_a_list_and_in_toml_are_fleets(tmp_path):
    table = """\
    [[device]]
    kind = "simulated"
    network = { kind = "mlp", widths = [3, 2, 2] }
    imperfections = [{ kind = "mismatch", gain = 0.1 }]
    """
    rest = """
    [task]
    kind = "parity"
    bits = 3
    [algorithm]
    kind = "weight-mgd"
    learning_rate = 0.1
    [until]
    measurements = 30
    """
    (tmp_path / "list.toml").write_text(2 * table + rest)
    (tmp_path / "short.toml").write_text(
        "devices = 2\n" + table.replace("[[device]]", "[device]") + rest
    )
    listed, short = (
        dither.read_specification(str(tmp_path / f"{n}.toml")) for n in ("list", "short")
    )
    assert listed.device.count == short.device.count == 2
    assert short.devices == 1
    same_run(listed.train(), short.train())
    (tmp_path / "again.toml").write_text(to_toml(short))
    assert dither.read_specification(str(tmp_path / "again.toml")).device == short.device
    changed = dither.read_specification(str(tmp_path / "short.toml"), ["devices=5"])
    assert changed.device.count == 5
    assert isinstance(changed.device, Fleet)


# ---------------------------------------------------------------------- the account


def test_every_device_has_its_account_and_its_score():
    slow = SimulatedDevice(network=NETWORK, seconds_per_measurement=3.0, joules_per_write=2.0)
    fast = SimulatedDevice(network=NETWORK, seconds_per_measurement=1.0, joules_per_write=5.0)
    result = train(Fleet(devices=(slow, fast), copies=2), 40, score_every=20)
    each = result.devices.set_index("device")
    assert each["measurements"].tolist() == [40] * 4
    assert each["samples"].tolist() == [120] * 4
    assert each["device_seconds"].tolist() == [120.0, 120.0, 40.0, 40.0]
    assert each["joules"].tolist() == [80.0, 80.0, 200.0, 200.0]
    assert result.ledger["device_seconds"] == 120.0  # of the slowest
    assert result.ledger["joules"] == each["joules"].sum()
    assert result.ledger["samples"] == each["samples"].sum()
    told = result.summary()
    assert told["devices_in_all"]["measurements"] == 160
    assert told["devices_mean_score"] == pytest.approx(result.score)
    assert told["devices_worst_score"] == each["score"].min()


def test_real_devices_count_what_they_are_asked(tmp_path):
    chips = [Chip(f) for f in (1.0, 0.5)]
    result = train(chips, 60, out=tmp_path / "run")
    for chip, (_, row) in zip(chips, result.devices.iterrows()):
        assert row["measurements"] == chip.calls == result.ledger["measurements"]
        assert row["samples"] == chip.samples
        assert row["writes"] == chip.writes
        assert chip.made_safe == 1
    again = load_run(tmp_path / "run", device=PythonFleet(chips))
    assert again.devices.to_dict() == result.devices.to_dict()


def test_further_devices_are_new_ones_of_the_same_make(tmp_path):
    task = Parity(bits=3)
    fleet = train(Fleet(devices=(EXACT,), copies=3), task=task, out=tmp_path / "fleet")
    further = fleet.further(2)
    assert further["device"].tolist() == [3, 4]
    *_, key = jax.random.split(random_key(3), 4)
    data = task.load()
    for n, cost in [*enumerate(fleet.devices["test_cost"]), *zip((3, 4), further["test_cost"])]:
        chip = EXACT.fabricate(specimen_key(key, n))
        gains = chip.imperfections[0][0]
        y = NETWORK(EXACT.space.unravel(gains * fleet.parameters[0]), data.test_inputs)
        assert float(jnp.mean(data.cost(y, data.test_targets))) == pytest.approx(cost, rel=1e-5)
    # a single device's further ones begin at 1, and are those of the same numbers
    one = dither.training.Result(**{**vars(fleet), "device": EXACT})
    assert one.further(4)["test_cost"].tolist()[2:] == pytest.approx(further["test_cost"].tolist())
    read = load_run(tmp_path / "fleet").further(2)
    assert read.to_dict() == further.to_dict()


def test_predictions_are_those_of_the_first_device():
    x = np.asarray(TASK.load().test_inputs)
    result = train(Fleet(devices=(EXACT,), copies=2))
    *_, key = jax.random.split(random_key(3), 4)
    gains = EXACT.fabricate(key).imperfections[0][0]
    y = NETWORK(EXACT.space.unravel(gains * result.parameters[0]), jnp.asarray(x))
    assert np.allclose(result.predict(x), y, atol=1e-5)
    chips = [Chip(0.5), Chip(2.0)]
    result = train(chips, 60)
    chips[0].write(result.parameters[0])
    assert np.allclose(result.predict(x[:5]), chips[0].forward(x[:5]), atol=1e-6)


@pytest.mark.long
def test_the_shell_scores_further_devices(tmp_path, capsys, shell):
    run = train(Fleet(devices=(EXACT,), copies=2), out=tmp_path / "run")
    assert not shell("predict", tmp_path / "run", "--further", 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "device,score,test_cost"
    costs = [float(line.split(",")[2]) for line in lines[1:]]
    assert costs == pytest.approx(run.further(3)["test_cost"].tolist(), rel=1e-5)
    assert shell("predict", tmp_path / "run") == 2


# ---------------------------------------------------------------------- dropping out


def test_a_real_device_that_drops_out_is_left_out_and_comes_back():
    chips = [Chip(f) for f in (1.0, 0.5, 2.0)]
    fleet, x = PythonFleet(chips), np.repeat(np.eye(3), 3, axis=0)
    fleet.write(np.linspace(-1, 1, P))

    def rows():
        return [fleet.measure(x, None)[n::3] for n in range(3)]

    own = rows()
    assert not np.allclose(own[1], own[2])
    chips[1].broken = True
    for _ in range(PATIENCE - 1):
        with pytest.raises(RunError, match="device 1 of the fleet: OSError: no light"):
            rows()
    with pytest.raises(RunError, match="device 1 of the fleet is excluded"):
        rows()
    calls = chips[1].calls
    for _ in range(20):
        now = rows()
        assert np.array_equal(now[0], own[0])
        assert np.array_equal(now[1], own[2])
    assert calls < chips[1].calls <= calls + 4  # asked again after 2, 4, 8 rounds
    chips[1].broken = False
    with pytest.raises(RunError, match="device 1 of the fleet is back"):
        _ = [rows() for _ in range(20)]
    assert np.array_equal(rows()[1], own[1])


def test_a_run_goes_on_while_a_device_is_out():
    chips = [Chip(f) for f in (1.0, 0.9, 1.1)]

    def look(progress):
        chips[1].broken = 50 <= progress.measurements < 300

    result = train(chips, 600, observers=[look], checkpoint_seconds=0.0)
    assert result.succeeded
    assert np.isfinite(result.parameters).all()
    failed = result.devices["failed"].tolist()
    assert failed[0] == failed[2] == 0
    assert PATIENCE <= failed[1] < 30
    assert result.devices["measurements"][1] < result.devices["measurements"][0]
    assert result.ledger["failed"] <= 2 * PATIENCE
    assert not chips[1].broken
    assert np.array_equal(chips[1].theta, chips[0].theta)


def test_attendance_against_its_rule():
    rng, n = np.random.default_rng(0), 4
    now, row, team, done = Attendance.full(n), np.zeros(n, int), np.ones(n, bool), 0
    down = np.zeros(n, bool)
    step = jax.jit(Attendance.after)
    for _ in range(400):
        down ^= rng.random(n) < np.where(down, 0.2, 0.02)
        answers = ~down & (rng.random(n) > 0.02)
        status, now = step(now, jnp.where(answers, Status.DONE, Status.FAILED))
        row = np.where(answers, 0, row + 1)
        settled = all(a or r >= PATIENCE for a, r in zip(answers, row)) and answers.any()
        expected = settled and (answers == team).all()
        team = answers if settled else team
        assert (status == Status.DONE) == expected
        assert np.array_equal(now.team, team)
        done += expected
        if expected:
            by = np.asarray(now.stand_ins())
            assert team[by].all()
            assert np.array_equal(by[team], np.flatnonzero(team))
    assert 100 < done < 390


def test_simulated_devices_that_fail_are_left_out_and_counted():
    flaky = SimulatedDevice(network=NETWORK, imperfections=(FailedReads(probability=0.05),))
    dead = SimulatedDevice(network=NETWORK, imperfections=(FailedReads(probability=0.999),))
    result = train(Fleet(devices=(flaky, dead)), 400)
    assert result.succeeded
    failed = result.devices["failed"].tolist()
    assert failed[1] > 390
    assert 5 <= failed[0] <= 40
    assert result.ledger["failed"] < 60


# ---------------------------------------------------------------------- threads


def test_real_devices_are_measured_at_the_same_time():
    def pace(devices, rounds=25):
        fleet = PythonFleet([Chip(seconds=0.02) for _ in range(devices)])
        x, theta = np.zeros((devices, 3)), np.zeros(P)
        fleet.write(theta)
        fleet.measure(x, None)
        started = time.perf_counter()
        for k in range(rounds):
            fleet.write(theta + k)
            fleet.measure(x, None)
        return devices * rounds / (time.perf_counter() - started)

    assert pace(8) > 5 * pace(1)


# ---------------------------------------------------------------------- resuming


def test_a_fleet_resumes_bit_for_bit(tmp_path):
    fleet = Fleet(
        devices=(
            SimulatedDevice(
                network=NETWORK,
                imperfections=(*CHIP.imperfections, FailedReads(probability=0.1)),
            ),
        ),
        copies=3,
        shards=Shards(split="dirichlet"),
    )
    whole = train(fleet, 400)
    train(fleet, 150, out=tmp_path / "run")
    same_run(whole, resumed := train(fleet, 400, out=tmp_path / "run", resume=True))
    assert whole.devices.to_dict() == resumed.devices.to_dict()


def test_a_real_fleets_account_is_resumed(tmp_path):
    train([Chip(), Chip(0.5)], 60, out=tmp_path / "run")
    result = train([Chip(), Chip(0.5)], 120, out=tmp_path / "run", resume=True)
    assert result.devices["measurements"].tolist() == 2 * [result.ledger["measurements"]]
    assert result.devices["writes"].sum() > result.ledger["writes"]


# ---------------------------------------------------------------------- shards


@pytest.mark.parametrize("split", ["equal", "dirichlet"])
def test_shards_partition_the_data(split):
    task = NIST7x7().load()
    hands = Shards(split=split, concentration=0.2).deal(task, 7)
    every, counts = np.unique(np.concatenate(hands), return_counts=True)
    assert counts.max() == 1
    assert len(every) == (len(task.inputs) if split == "dirichlet" else 7 * (len(task.inputs) // 7))
    assert min(map(len, hands)) >= 1
    shares = [np.bincount(np.asarray(task.targets)[hand], minlength=4) for hand in hands]
    uneven = np.std([share / share.sum() for share in shares])
    assert (uneven > 0.2) == (split == "dirichlet")
    dealt_out = dealt(task, 7, Shards(split=split, concentration=0.2))
    for draw in range(20):
        rows = np.asarray(dealt_out.sample(jax.random.key(0), jnp.int32(draw)))
        assert len(rows) == dealt_out.batch
        for n, hand in enumerate(hands):
            assert np.isin(rows[n::7], hand).all()


def test_shared_data_are_the_same_samples_for_all():
    task = Parity(bits=4, batch=5).load()
    rows = np.asarray(dealt(task, 3).sample(jax.random.key(7), jnp.int32(11))).reshape(5, 3)
    expected = np.asarray(task.sample(jax.random.key(7), jnp.int32(11)))
    assert np.array_equal(rows, np.repeat(expected[:, None], 3, axis=1))


# ---------------------------------------------------------------------- over the air


@pytest.mark.parametrize("alpha", [0.7, 1.2, 1.5, 1.9, 2.0])
def test_stable_variables_have_their_characteristic_function(alpha):
    n = 200_000
    x = np.asarray(stable(jax.random.key(1), alpha, (n,)), float)
    assert np.isfinite(x).all()
    for u in (0.1, 0.5, 1.0, 2.0, 3.0):
        expected = math.exp(-(u**alpha))
        spread = math.sqrt((1 + math.exp(-((2 * u) ** alpha))) / 2 - expected**2)
        assert abs(np.cos(u * x).mean() - expected) < 5 * spread / math.sqrt(n)
        assert abs(np.sin(u * x).mean()) < 5 / math.sqrt(n)


def test_fading_has_a_mean_of_one():
    h = np.asarray(rayleigh(jax.random.key(0), (100_000,)), float)
    spread = math.sqrt(4 / math.pi - 1)
    assert abs(h.mean() - 1) < 5 * spread / math.sqrt(h.size)
    assert abs(h.std() - spread) < 0.01


def test_what_arrives_is_the_faded_sum_and_the_interference():
    air = Air(alpha=1.5, scale=0.3)
    fleet = Fleet(devices=(EXACT,), copies=4, air=air)
    plain = Fleet(devices=(EXACT,), copies=4)
    key = jax.random.key(9)
    task = fleet.deal(TASK.load())
    batch = Batch(task.inputs[:12], task.targets[:12])
    theta = fleet.initial(jax.random.key(1))
    state, other = fleet.fabricate(key), plain.fabricate(key)
    costs = []
    for n in range(4):
        make, chip = fleet.specimen(key, n)
        mine = Batch(batch.inputs[n::4], batch.targets[n::4])
        chip = make.write(chip, theta, jnp.bool_(False))
        costs.append(make.measure(chip, mine, task.cost, None, AccessLevel.COST)[0].cost)
    fades = []
    for updated in (False, False, True):
        state = fleet.write(state, theta, jnp.bool_(updated))
        h = rayleigh(
            jax.random.fold_in(jax.random.fold_in(state.air.key, 0), state.air.updates), (4,)
        )
        xi = stable(
            jax.random.fold_in(jax.random.fold_in(state.air.key, 1), state.air.measured), 1.5
        )
        seen, _, state = fleet.measure(state, batch, task.cost, None, AccessLevel.COST)
        assert seen.cost == pytest.approx(float(np.mean(h * np.array(costs)) + 0.3 * xi), rel=1e-5)
        fades.append(h.tolist())
    assert fades[0] == fades[1] != fades[2]
    other = plain.write(other, theta, jnp.bool_(False))
    assert plain.measure(other, batch, task.cost, None, AccessLevel.COST)[0].cost == pytest.approx(
        float(np.mean(costs)), rel=1e-6
    )


@pytest.mark.long
def test_without_fading_and_interference_the_air_changes_nothing():
    clear = Air(scale=0.0, fading=False)
    one, other = (train(Fleet(devices=(CHIP,), copies=3, air=air)) for air in (None, clear))
    assert np.allclose(one.parameters, other.parameters, atol=1e-4)
    assert Fleet(devices=(CHIP,), air=clear).access_level is AccessLevel.COST


# ---------------------------------------------------------------------- refusals

WRONG = {
    "unlike shapes": (
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n'
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 4, 2] }\n',
        "device 1 has the parameters 'dense0/bias' of shape (4,)",
    ),
    "a layer missing": (
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2, 2] }\n'
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n',
        "device 1 lacks the parameters 'dense2/bias' of shape (2,)",
    ),
    "a layer too many": (
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n'
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2, 2] }\n',
        "device 1 has the further parameters 'dense2/bias' of shape (2,)",
    ),
    "unlike grids": (
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n'
        '[[device]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n'
        'imperfections = [{ kind = "dac", bits = 8, low = -1, high = 1 }]\n',
        "with 256 levels, but device 0 has",
    ),
    "alpha": (
        '[device]\nkind = "fleet"\nair = { alpha = 1.0 }\n'
        '[[device.devices]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 2] }\n',
        "device.air.alpha",
    ),
    "copies of a real one": (
        'devices = 3\n[device]\nkind = "lab"\nobject = "a.py:A"\n',
        "[[device]]",
    ),
    "no devices": ("device = []\n", "device.devices"),
    "values dealt by class": (
        '[device]\nkind = "fleet"\ncopies = 2\nshards = { split = "dirichlet" }\n'
        '[[device.devices]]\nkind = "simulated"\nnetwork = { kind = "mlp", widths = [3, 2, 3] }\n',
        "needs",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_a_fleet_is_refused_in_one_sentence(name, tmp_path, capsys, shell):
    text, said = WRONG[name]
    task = '[task]\nkind = "parity"\nbits = 3\n'
    if "dealt" in name:
        np.savez(tmp_path / "d.npz", inputs=np.ones((9, 3)), targets=np.ones((9, 3)))
        task = f'[task]\nkind = "arrays"\nfile = "{tmp_path / "d.npz"}"\n'
        said = "Dirichlet shards need classes"
    file = tmp_path / "wrong.toml"
    file.write_text(
        text
        + task
        + '[algorithm]\nkind = "weight-mgd"\nlearning_rate = 1\n[until]\nmeasurements = 10\n'
    )
    assert shell("train", file, "--out", tmp_path / "out") == 2
    # a line before it may be a warning of how the package was installed
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in told
    assert told.startswith("dither: ")
    assert not (tmp_path / "out").exists()


def test_unlike_real_devices_are_refused():
    with pytest.raises(RequestError, match=r"device 1 \(Chip\) has the parameters 'theta'"):
        PythonFleet([Chip(), Chip(widths=(3, 3, 2))])
    with pytest.raises(RequestError, match="mixes simulated and real devices"):
        train([Chip(), CHIP])
    coarse = Chip()
    coarse.bounds, coarse.bits = (-1.0, 1.0), 4
    with pytest.raises(RequestError, match="16 levels"):
        PythonFleet([Chip(), coarse])
    with pytest.raises(RequestError, match="at least one device"):
        PythonFleet([])


def test_a_grid_is_common_to_the_fleet():
    device = SimulatedDevice(network=NETWORK, imperfections=(DAC(bits=4, low=-1, high=1),))
    assert Fleet(devices=(device,), copies=2).space == device.space
    assert tomllib.loads("devices = 2")["devices"] == 2
