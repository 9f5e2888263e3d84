"""Our algorithms in other packages' loops, against our own loop and plain NumPy."""

import io
import math

import numpy as np
import pytest

from dither import (
    SPSA,
    Backpropagation,
    CoordinateDescent,
    LayerwiseMGD,
    RequestError,
    RunError,
    WeightMGD,
)

P = 5
WANTED = np.linspace(-0.8, 0.6, P)
MGD_PAIRS = WeightMGD(learning_rate=0.1, delta=0.05, pairs="central", tau_theta=4)
ALGORITHMS = {
    "weight-mgd, central": MGD_PAIRS,
    "weight-mgd, baseline": WeightMGD(learning_rate=0.1, delta=0.05, tau_theta=3, tau_x=2),
    "layerwise-mgd": LayerwiseMGD(learning_rate=0.1, delta=0.05),
    "spsa": SPSA(a=2.0, c=0.05, A=10.0),
}


def cost(theta):
    return float(np.sum((np.asarray(theta, float) - WANTED) ** 2))


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return ALGORITHMS[request.param]


# --------------------------------------------------------------------------------------- gest-api


def vocs(**more):
    standard = pytest.importorskip("gest_api.vocs", reason="gest-api is not installed")
    given = {"variables": {f"x{n}": [-1.0, 0.7] for n in range(P)}, "objectives": {"f": "MINIMIZE"}}
    return standard.VOCS(**{**given, **more})


def generator(*args, **settings):
    pytest.importorskip("gest_api", reason="gest-api is not installed")
    from dither.interop import DitherGenerator

    return DitherGenerator(*args, **settings)


def point(suggested):
    return np.array([suggested[f"x{n}"] for n in range(P)])


def measured(points, sign=1.0):
    return [{**p, "f": sign * cost(point(p))} for p in points]


def run(made, measurements, sign=1.0):
    asked = []
    while len(asked) < measurements:
        points = made.suggest(None)
        asked += [point(p) for p in points]
        made.ingest(measured(points, sign))
    return np.array(asked)


def test_a_generator_finds_the_minimum_inside_the_domains(algorithm):
    made = generator(vocs(), algorithm, seed=1)
    asked = run(made, 400)
    assert asked.min() >= -1
    assert asked.max() <= 0.7
    start = cost(np.full(P, -0.15))
    assert cost([made.reached()[f"x{n}"] for n in range(P)]) < 0.02 * start


def test_maximising_is_minimising_the_negative(algorithm):
    one = run(generator(vocs(), algorithm, seed=1), 40)
    other = run(generator(vocs(objectives={"f": "MAXIMIZE"}), algorithm, seed=1), 40, sign=-1.0)
    assert np.array_equal(one, other)


def test_central_pairs_step_along_the_measured_slope():
    """A plain loop over the points that were suggested gives the points that are suggested next."""
    made = generator(vocs(), MGD_PAIRS, seed=3)
    theta = np.full(P, -0.15)
    for _ in range(3):
        block = made.suggest(None)
        points = np.array([point(p) for p in block])
        made.ingest(measured(block))
        assert len(points) == 8
        plus, minus = points[::2], points[1::2]
        assert np.allclose((plus + minus) / 2, theta, atol=1e-6)
        slopes = np.array([(cost(a) - cost(b)) / 2 for a, b in zip(plus, minus)])
        signs = (plus - minus) / 2 / 0.05
        theta = theta - 0.1 * np.mean(slopes[:, None] * signs / 0.05, axis=0)
        theta = np.clip(theta, -0.95, 0.65)
        assert np.allclose([made.reached()[f"x{n}"] for n in range(P)], theta, atol=1e-4)


def test_results_come_in_any_order_and_in_parts(algorithm):
    straight = run(generator(vocs(), algorithm, seed=2), 30)
    made, asked, rng = generator(vocs(), algorithm, seed=2), [], np.random.default_rng(0)
    while len(asked) < 30:
        points = made.suggest(None)
        asked += [point(p) for p in points]
        for number in rng.permutation(len(points)):
            made.ingest(measured([points[number]]))
    assert np.array_equal(asked[:30], straight[:30])


def test_a_result_that_is_nan_is_suggested_again():
    made = generator(vocs(), MGD_PAIRS, seed=2)
    points = made.suggest(8)
    results = measured(points)
    results[3]["f"] = math.nan
    made.ingest(results)
    assert made.suggest(None) == [points[3]]
    made.ingest(measured([points[3]]))
    straight = run(generator(vocs(), MGD_PAIRS, seed=2), 16)
    assert np.array_equal([point(p) for p in made.suggest(None)], straight[8:])


def test_what_a_generator_cannot_serve_is_refused():
    made = generator(vocs(constants={"gain": 2.0}), MGD_PAIRS, initial={"x1": 0.25})
    points = made.suggest(2)
    assert [p["gain"] for p in points] == [2.0, 2.0]
    assert np.mean([p["x1"] for p in points]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="7 points were requested, but only 6"):
        made.suggest(7)
    with pytest.raises(ValueError, match="_id 99"):
        made.ingest([{"_id": 99, "f": 0.0}])
    made.ingest([{"x0": 0.0, "f": 0.0}])
    assert len(made.suggest(None)) == 6
    with pytest.raises(ValueError, match="one objective"):
        generator(vocs(objectives={"f": "MINIMIZE", "g": "MINIMIZE"}), MGD_PAIRS)
    with pytest.raises(ValueError, match="constraints"):
        generator(vocs(constraints={"c": ["LESS_THAN", 0.0]}), MGD_PAIRS)
    with pytest.raises(ValueError, match="continuous"):
        generator(vocs(variables={"x": {0, 1}}), MGD_PAIRS)
    for algorithm in (Backpropagation(learning_rate=0.1), CoordinateDescent()):
        with pytest.raises(RequestError, match="more than the cost"):
            generator(vocs(), algorithm)


def simulate(given):
    return {"f": cost(point(given))}


def test_libensemble_runs_a_generator(tmp_path, monkeypatch):
    pytest.importorskip("libensemble", reason="libensemble is not installed")
    from libensemble import Ensemble
    from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
    from libensemble.specs import AllocSpecs, ExitCriteria, GenSpecs, LibeSpecs, SimSpecs

    monkeypatch.chdir(tmp_path)
    space = vocs()
    made = generator(space, MGD_PAIRS, seed=1)
    ensemble = Ensemble(
        libE_specs=LibeSpecs(nworkers=3, comms="threads", disable_log_files=True),
        gen_specs=GenSpecs(generator=made, vocs=space, batch_size=8, initial_batch_size=8),
        sim_specs=SimSpecs(simulator=simulate, vocs=space),
        alloc_specs=AllocSpecs(alloc_f=only_persistent_gens, user={"give_sim_priority": True}),
        exit_criteria=ExitCriteria(sim_max=160),
    )
    history, _, flag = ensemble.run()
    assert flag == 0
    asked = np.stack([history[f"x{n}"] for n in range(P)], axis=1)[np.argsort(history["_id"])]
    # the same as without libEnsemble, whatever the order in which its workers finished
    assert np.array_equal(asked[:160], run(generator(vocs(), MGD_PAIRS, seed=1), 160)[:160])
    assert cost([made.reached()[f"x{n}"] for n in range(P)]) < 0.2 * cost(np.full(P, -0.15))


# ---------------------------------------------------------------------------------------- PyTorch


def torch_and_mgd():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from dither.interop import MGD

    torch.set_num_threads(1)  # threads that wait for one another stand still on a busy machine
    return torch, MGD


def a_model(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    return model, lambda: torch.nn.functional.mse_loss(model(x), y)


def vector(torch, model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()


def test_steps_need_no_backward_pass_and_learn(algorithm):
    torch, MGD = torch_and_mgd()
    model, loss = a_model(torch)
    optimizer = MGD(model.parameters(), algorithm)
    calls = []

    def closure():
        value = loss()
        assert not value.requires_grad
        calls.append(1)
        return value

    with torch.no_grad():
        first = float(loss())
        for _ in range(60):
            optimizer.step(closure)
        assert float(loss()) < 0.9 * first
    assert optimizer.measurements == len(calls)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_averaged_step_follows_the_gradient_of_autograd():
    """E G = g and E|G|² = (1 + κ)|g|², κ = P − 1 over T random signs: cos² ≈ 1 / (1 + κ/T)."""
    torch, MGD = torch_and_mgd()
    model, loss = a_model(torch)
    loss().backward()
    gradient = np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
    before, size = vector(torch, model), gradient.size
    ticks = 8 * size
    algorithm = WeightMGD(learning_rate=1.0, delta=0.01, pairs="central", tau_theta=ticks)
    optimizer = MGD(model.parameters(), algorithm, seed=5)
    optimizer.step(loss)
    estimate = before - vector(torch, model)
    assert optimizer.measurements == 2 * ticks
    # |G − g| is |g| √(κ/T) in the mean; twice that
    assert np.linalg.norm(estimate - gradient) < 2 * np.linalg.norm(gradient) * math.sqrt(1 / 8)


def test_a_state_goes_on_bit_for_bit(algorithm):
    torch, MGD = torch_and_mgd()
    model, loss = a_model(torch)
    optimizer = MGD(model.parameters(), algorithm, seed=4)
    for _ in range(5):
        optimizer.step(loss)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    straight = [optimizer.step(loss) for _ in range(5)]
    file.seek(0)
    other, other_loss = a_model(torch)
    resumed = MGD(other.parameters(), algorithm, seed=0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert [resumed.step(other_loss) for _ in range(5)] == straight
    assert np.array_equal(vector(torch, other), vector(torch, model))
    assert resumed.measurements == optimizer.measurements
    smaller = MGD(other[0].parameters(), algorithm)
    with pytest.raises(RequestError, match="or other parameters"):
        smaller.load_state_dict(optimizer.state_dict())


def test_a_closure_that_fails_can_be_called_again():
    torch, MGD = torch_and_mgd()
    model, loss = a_model(torch)
    steady = MGD(model.parameters(), MGD_PAIRS, seed=1)
    for _ in range(3):
        steady.step(loss)
    expected = vector(torch, model)
    model, loss = a_model(torch)
    flaky, calls = MGD(model.parameters(), MGD_PAIRS, seed=1), []

    def closure():
        calls.append(1)
        if len(calls) == 5:
            raise ConnectionError("no light")
        return math.nan if len(calls) == 12 else loss()

    start = vector(torch, model)
    with pytest.raises(ConnectionError):
        flaky.step(closure)
    assert np.array_equal(vector(torch, model), start)
    flaky.step(closure)
    with pytest.raises(RunError, match="loss is nan"):
        flaky.step(closure)
    for _ in range(2):
        flaky.step(closure)
    assert np.array_equal(vector(torch, model), expected)
