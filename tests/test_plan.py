"""Plans: what a method takes, what it needs, and what is impossible."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import dither.planning.floor as searching
import dither.planning.plan as planning
import dither.planning.tried as trying
from dither.algorithms import (
    FiniteDifferences,
    LayerwiseMGD,
    NodePerturbation,
    WeightMGD,
)
from dither.cli import app
from dither.devices.imperfections import ADC, DAC
from dither.planning.boolean import descents
from dither.planning.chip import acts, cost, wiring
from dither.planning.methods import methods, next_level
from dither.planning.plan import make_plan
from dither.planning.predict import Prediction, predict
from dither.planning.question import read_question
from dither.planning.rates import Start, Tried, scanned
from dither.planning.written import write_plan
from dither.training.fit import problem_of
from dither.training.specification import read_specification

NIST = ["device.seconds_per_write=1e-3", "device.seconds_per_measurement=1e-5",
        "device.seconds_per_perturbation=1e-4", "device.joules_per_measurement=1e-6",
        "device.joules_per_write=1e-7", "device.joules_per_perturbation=1e-8"]  # fmt: skip

RULES = [
    WeightMGD(learning_rate=0.1, pairs="central"),
    WeightMGD(learning_rate=0.1, tau_theta=4),
    LayerwiseMGD(learning_rate=0.1, pairs="central"),
    NodePerturbation(learning_rate=0.1, tau_theta=3),
    NodePerturbation(learning_rate=0.1, pairs="central"),
]


@pytest.mark.quick("weight-mgd-4", "node-perturbation-1")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}-{rule.tau_theta}")
def test_time_and_energy_are_those_of_the_ledger(rule):
    # whole updates, so that the mean over many is exact
    n = 240
    run = read_specification("nist7x7", [*NIST, "replicas=1", f"until.measurements={n}"])
    run = run.model_copy(update={"algorithm": rule, "until": run.until.model_copy(
        update={"score": None})})  # fmt: skip
    ledger = run.train().ledger
    problem = problem_of(run.device, run.task.load())
    done = acts(rule, problem, jnp.zeros(problem.space.size))
    assert done.writes * n == pytest.approx(ledger["writes"], abs=2)
    spent = cost(run.device, done, float(n), problem.batch)
    assert spent.seconds == pytest.approx(ledger["device_seconds"], rel=0.01)
    assert spent.joules == pytest.approx(ledger["joules"], rel=0.01)


def test_converted_bits_are_paid_for_in_the_ledger():
    run = read_specification("nist7x7", ["replicas=1", "until.measurements=50", "task.batch=2",
                                         "algorithm.delta=0.04"])  # fmt: skip
    plain = {"low": -4.0, "high": 4.0}
    device = run.device.model_copy(update={"imperfections": (
        DAC(bits=8, joules_per_bit=1e-12, **plain), ADC(bits=10, joules_per_bit=1e-13, **plain),
    )})  # fmt: skip
    ledger = run.model_copy(update={"device": device}).train().ledger
    # 220 parameters of 8 bits a write, 4 outputs of 10 bits a sample
    due = ledger["writes"] * 220 * 8 * 1e-12 + ledger["samples"] * 4 * 10 * 1e-13
    assert ledger["samples"] == 2 * ledger["measurements"]
    assert ledger["joules"] == pytest.approx(due)


def test_wiring_of_a_small_perceptron():
    device = read_specification("nist7x7").device
    problem = problem_of(device, read_specification("nist7x7").task.load())

    def built(rule):
        return tuple(wiring(rule, device, problem))

    # 49-4-4: 220 parameters, 8 neurons, 49 + 4 inputs of layers
    assert built(WeightMGD(learning_rate=0.1)) == (220, 1.0, 0)
    assert built(WeightMGD(learning_rate=0.1, tau_theta=2)) == (220, 2.0, 0)
    assert built(WeightMGD(learning_rate=0.1, optimizer="adam")) == (220, 3.0, 0)
    assert built(NodePerturbation(learning_rate=0.1)) == (8, 1.0, 53)
    assert built(FiniteDifferences(learning_rate=0.1))[0] == 1
    assert built(LayerwiseMGD(learning_rate=0.1))[0] == 200


def test_methods_are_those_that_a_device_allows_and_the_next_ones():
    device = read_specification("nist7x7-noisy-chip").device
    problem = problem_of(device.model_copy(update={"access": "gradients"}),
                         read_specification("nist7x7-noisy-chip").task.load())  # fmt: skip
    found = list(methods(problem, None))
    assert next_level(device.access_level, found).name == "SITES"
    kinds = {method.kind for method in found if method.access <= device.access_level}
    assert kinds == {"weight-mgd", "layerwise-mgd", "finite-differences"}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Searches that end early: the task is easy, and the noise decides."""
    monkeypatch.setattr(searching, "STEPS", 200)
    monkeypatch.setattr(searching, "MORE", 400)


def bound(sigma, others):
    """The best accuracy for outputs in [0, 1] with normal noise: 1 beside 0s is the clearest."""
    z = np.linspace(-8, 8, 4001)
    return float(np.trapezoid(norm.pdf(z) * norm.cdf(z + 1 / sigma) ** others, z))


NOISY = ['device.imperfections=[{kind="output-noise",sigma=1.0}]', 'device.access="outputs"']


@pytest.mark.long
def test_the_floor_is_that_of_the_noise():
    run = read_specification("nist7x7", NOISY)
    task = run.task.load()
    most, tests = bound(1.0, 3), len(task.test_inputs)
    scatter = math.sqrt(most * (1 - most) / tests)
    found = searching.floor(run.device, task, 0.95)
    # the best of forty evaluations, after a short search; chance is 0.25
    assert 0.4 < found.score < most + 4 * scatter
    assert found.excludes(0.95)


@pytest.fixture
def quick(monkeypatch):
    """Two methods, whose predictions are given."""

    def known(problem, own):
        kept = [m for m in methods(problem, own) if m.kind in ("weight-mgd", "node-perturbation")]
        return iter(kept[:1] + kept[-1:])

    def given(*asked, **_):
        algorithm, until = asked[2:]
        n = 1e4 / algorithm.access_level.value if algorithm.access_level else 4e4
        if n > until.measurements:
            return Prediction(math.inf, math.inf, math.inf, 1.0, "not reached")
        return Prediction(n, n / 2, n * 2, 1.0)

    monkeypatch.setattr(planning, "methods", known)
    monkeypatch.setattr(trying, "predict", given)


KEYS = {"method", "feasible", "reason", "measurements", "low", "high", "device_seconds", "joules",
        "learning_rate", "delta", "floor"}  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_a_plan_on_the_shell_ends_with_what_train_takes(tmp_path):
    changes = [word for one in (*NIST, 'device.access="outputs"') for word in ("--set", one)]
    out = tmp_path / "plan"
    done = CliRunner().invoke(app, ["plan", "nist7x7", *changes, "--json", "--out", str(out)])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert all(row.keys() >= KEYS for row in rows)
    own, node = rows
    assert (own["method"], node["method"]) == ("weight-mgd", "node-perturbation")
    assert (own["to_build"], node["to_build"]) == (False, True)
    # one write in a measurement, but for every second of a baseline; 1e-3 s and 1e-5 s
    assert own["device_seconds"] == pytest.approx(4e4 * (1e-3 + 1e-5))
    # a central pair writes once for two measurements, each with a perturbation
    assert node["device_seconds"] == pytest.approx(5e3 * (0.5e-3 + 1e-4 + 1e-5))
    kept = json.loads((out / "plan.json").read_text())
    assert kept["rows"] == rows
    assert kept["target"] == 0.95
    # the file's own algorithm is the cheapest that this device allows
    assert rows[kept["best"]]["own"]
    best = read_specification(str(out / "best.toml"))
    assert best.algorithm == read_specification("nist7x7").algorithm
    assert best.until.score == 0.95
    assert {f.name for f in out.iterdir()} >= {"costs.svg", "costs.pdf", "sensitivity.svg"}


@pytest.mark.usefixtures("quick")
def test_a_target_above_the_floor_is_impossible_before_training():
    done = CliRunner().invoke(
        app, ["plan", "nist7x7", "--json", *(w for one in NOISY for w in ("--set", one))]
    )
    assert done.exit_code == 0, done.output
    for row in json.loads(done.stdout)["rows"]:
        assert not row["feasible"]
        assert row["measurements"] is None
        assert row["reason"].startswith("0.95 is above")
        assert row["floor"] < bound(1.0, 3) + 0.06


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_axes_multiply_the_rows(tmp_path):
    file = tmp_path / "noisy.toml"
    file.write_text(
        'task = "nist7x7"\n[until]\nscore = 0.9\n[axes]\nbits = [6, 8]\n[device]\n'
        'kind = "simulated"\naccess = "outputs"\n'
        'network = { kind = "mlp", widths = [49, 4, 4], activation = "sigmoid" }\n'
        'imperfections = [{ kind = "dac", bits = 4, low = -4.0, high = 4.0 }]\n'
    )
    question = read_question(str(file))
    bits = [cell.specification.device.imperfections[0].bits for cell in question.cells]
    assert bits == [6, 8]
    assert not question.decided
    made = make_plan(question)
    rows = made.rows
    assert [(row.point, row.method) for row in rows] == [
        ({"bits": b}, method) for b in (6, 8) for method in ("weight-mgd", "node-perturbation")
    ]
    unknown = [replace(row, measurements=None, device_seconds=None, curve=()) for row in rows]
    write_plan(replace(made, rows=tuple(unknown)), tmp_path / "given up")  # figures of nothing
    assert (tmp_path / "given up" / "costs.svg").exists()


REAL = 'device={kind="lab",object="examples/my_lab.py:chip"}'


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["nist8x8"], "nist7x7"),
        (["digits", "--set", "until={measurements=9}"], "until.score"),
        (["nist7x7", "--set", REAL, "--set", "replicas=1"], "needs a model"),
        (["nist7x7", "--set", "axes={bots=[1,2]}"], "'bots'"),
        (["nist7x7", "--set", "axes={low=[1,2]}"], "'low'"),
        (["xor", "--set", "axes={kind=['a']}"], "give the full key path"),
        (["nist7x7", "--set", "device.network.widths=[49,4,5]"], "outputs"),
        (["nist7x7", "--set", "until.score=95"], "set 0.95 for 95 %"),
    ],
)
def test_wrong_requests_are_told_in_a_sentence(asked, said, tmp_path, monkeypatch, capsys):
    import dither.cli

    out = tmp_path / "plan"
    monkeypatch.setattr("sys.argv", ["dither", "plan", *asked, "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        dither.cli.main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert said in told
    assert "\n" not in told
    assert told.endswith((".", "?"))
    assert not out.exists()


def test_a_scan_goes_downhill_to_the_best_rate():
    # measurements that are least at 0.1, of rates a factor of 3 apart from 0.9 on
    class At:
        sigma = 0.0

        def amplitude(self, _):
            return 0.01

        def greedy_rate(self, _):
            return 0.9

    def predict(algorithm, most):
        n = 1000 * (1 + abs(math.log(algorithm.learning_rate / 0.1)))
        return Prediction(n if n < most else math.inf, n, n, 1.0)

    found = scanned(WeightMGD(learning_rate=1.0), At(), predict)
    assert isinstance(found, Tried)
    assert found.algorithm.learning_rate == 0.1
    assert found.prediction.measurements == pytest.approx(1000)


def test_the_greedy_rate_is_the_minimum_along_the_gradient():
    # without scatter, C(θ − eta g) to second order is least at |g|² / g·Hg
    from dither.algorithms import Backpropagation

    run = read_specification("xor", ['task.batch="all"', "device.imperfections=[]"])
    start = Start.of(run.device.model_copy(update={"access": "gradients"}), run.task.load())
    here = start.here
    g, H = jax.grad(here.mean_cost)(here.theta), jax.hessian(here.mean_cost)(here.theta)
    bend = float(g @ H @ g)
    least = float(g @ g) / bend if bend > 0 else math.inf
    found = start.greedy_rate(Backpropagation(learning_rate=1.0))
    most = 0.2 * float(here.mean_cost(here.theta)) / float(g @ g)
    assert found == pytest.approx(min(least, most), rel=0.06)  # it is told to two digits


def test_a_prediction_that_takes_too_long_is_given_up_and_tells_where_it_was():
    run = read_specification("nist7x7", ["until.measurements=1000000"])
    device, task = run.device.model_copy(update={"access": "gradients"}), run.task.load()
    whole = predict(device, task, run.algorithm, run.until, trajectories=1)
    late = predict(device, task, run.algorithm, run.until, trajectories=1, seconds=0.0)
    assert math.isnan(late.measurements)
    assert 0 < late.low < whole.measurements
    assert "the prediction stopped" in late.reason


@pytest.mark.long
def test_other_instances_of_a_readout_descend_as_it_does():
    changes = ["device.reservoir.neurons=49", "until.score=0.9", "algorithm.on=0.5",
               'algorithm.selection="uniform"', "score_every=4", "replicas=12"]  # fmt: skip
    run = read_specification("mackey-glass-boolean", changes)
    found = descents(run.device, run.task.load(), run.algorithm, run.until, draws=12, score_every=4)
    trained = [end.ledger["measurements"] for end in run.train().replicas]
    assert 0.5 < np.median(found.reached) / np.median(trained) < 2
