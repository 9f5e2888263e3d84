"""evosax's strategies as algorithms: as by evosax alone, with bounds, failures and resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax import algorithms as evosax

import dither
from dither import MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import Evolution
from dither.devices import DAC
from dither.tasks import Parity
from dither.testing.algorithm import AlgorithmBattery
from dither.testing.devices import NumpyDevice
from dither.testing.runs import DEVICE, NETWORK, P, collect, keys, train

WHOLE = Parity(bits=3, batch=8)
N = 8
STRATEGIES = {
    "PGPE": {},
    "Open_ES": {"learning_rate": 0.05},
    "SNES": {"settings": {"lr_std_init": 0.3}},
    "Sep_CMA_ES": {},
    "CMA_ES": {},
    "PSO": {"settings": {"inertia_coeff": 0.6}},
    "DifferentialEvolution": {},
}


def cost(theta, rows, task):
    outputs = NETWORK(DEVICE.space.unravel(theta), task.inputs[rows])
    return jnp.mean(task.cost(outputs, task.targets[rows]))


def by_evosax_alone(name, theta, key, measure, generations):
    """The members of each generation, and what it has come to, by evosax's own calls."""
    zeros, sigma = jnp.zeros(P), 0.1
    if name == "Open_ES":
        strategy = evosax.Open_ES(
            N, zeros, optimizer=optax.adam(0.05), std_schedule=lambda _: jnp.asarray(sigma)
        )
    else:
        strategy = getattr(evosax, name)(N, zeros)
    params = strategy.default_params
    if hasattr(params, "std_init"):
        params = params.replace(std_init=sigma)
    params = params.replace(**STRATEGIES[name].get("settings", {}))
    state, members = None, []
    for generation in range(generations):
        first, ask, tell = jax.random.split(jax.random.fold_in(key, generation), 3)
        if generation == 0 and hasattr(strategy, "get_mean"):
            state = strategy.init(first, theta, params)
        if state is None:
            population = theta + sigma * jax.random.normal(ask, (N, P))
        else:
            population, state = strategy.ask(ask, state, params)
        members.append(population)
        costs = jnp.stack([measure(generation, member) for member in population])
        if state is None:
            state = strategy.init(first, population, costs, params)
        else:
            state, _ = strategy.tell(tell, population, costs, state, params)
    return np.concatenate(members), getattr(state, "mean", state.best_solution)


@pytest.mark.quick("CMA_ES")
@pytest.mark.filterwarnings("ignore:optax.global_norm")
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_trajectory_is_that_of_evosax_alone(name, x64):
    del x64
    algorithm = Evolution(strategy=name, population=N, **STRATEGIES[name])
    task, theta, run = WHOLE.load(), DEVICE.initial(jax.random.key(1)), keys(1)
    # eigenvectors of equal eigenvalues, as after a generation, are not determined to rounding
    generations = 1 if name == "CMA_ES" else 6
    n = generations * N
    probes, _, updated, _ = collect(algorithm, DEVICE, task, theta, run, n)
    learning, _, data = jax.random.split(run[0], 3)

    def measure(generation, member):
        return cost(member, task.sample(data, jnp.int32(generation)), task)

    members, reached = by_evosax_alone(name, theta, learning, measure, generations)
    assert np.ptp(members, axis=0).min() > 1e-3
    assert np.allclose(probes.parameters[0], members, rtol=0, atol=1e-9)
    assert np.asarray(updated[0]).nonzero()[0].tolist() == [*range(N - 1, n, N)]

    def told(state, each):
        probe, cost = each
        return algorithm.tell(state, probe, dither.contract.Measurement(cost))[0], None

    measured = jax.vmap(lambda k, member: measure(k // N, member))(jnp.arange(n), members)
    one_run = jax.tree.map(lambda leaf: leaf[0], probes)
    start = algorithm.init(learning, theta, dither.contract.Problem(DEVICE.space))
    end, _ = jax.lax.scan(told, start, (one_run, measured))
    assert np.allclose(algorithm.parameters(end), reached, rtol=0, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(
    "test",
    [
        AlgorithmBattery.test_stopped_and_resumed_is_the_undisturbed_run,
        AlgorithmBattery.test_a_failed_measurement_changes_nothing_but_the_ledger,
    ],
)
def test_a_swarm_in_the_battery(test, tmp_path):
    more = {"tmp_path": tmp_path} if "resumed" in test.__name__ else {}
    test(AlgorithmBattery(), Evolution(strategy="PSO", population=6), **more)


@pytest.mark.quick("CMA_ES", "PSO")
@pytest.mark.parametrize("strategy", ["PGPE", "CMA_ES", "PSO"])
def test_it_learns(strategy):
    settings = {"learning_rate": 0.1} if strategy == "PGPE" else STRATEGIES[strategy]
    algorithm = Evolution(strategy=strategy, population=16, sigma=0.5, **settings)
    network = MLP(widths=(2, 3, 1), activation="tanh", gain=2.0)
    result = dither.train(
        SimulatedDevice(network=network), dither.tasks.XOR(batch=4), algorithm, key=2,
        until=Until(measurements=1600), score_every=800,
    )  # fmt: skip
    assert result.history["test_cost"].iloc[-1] < 0.8 * 0.25


@pytest.mark.long
def test_the_mean_and_the_members_stay_between_the_bounds():
    device = SimulatedDevice(network=NETWORK, imperfections=(DAC(bits=6, low=-0.2, high=0.2),))
    algorithm = Evolution(strategy="SNES", population=6, sigma=1.0)
    theta = device.initial(jax.random.key(0))
    probes, *_ = collect(algorithm, device, WHOLE.load(), theta, keys(1), 60)
    assert np.abs(probes.parameters).max() == pytest.approx(0.2)
    assert np.abs(train(algorithm, 60, device).parameters).max() <= 0.2 + 1e-6


def test_a_swarm_measures_its_members_again_once_the_device_has_drifted():
    algorithm = Evolution(strategy="PSO", population=6)
    problem = dither.contract.Problem(DEVICE.space)
    state = algorithm.init(jax.random.key(0), jnp.zeros(P), problem)

    @jax.jit
    def measured(state, cost):
        probe, asked = algorithm.ask(state)
        return algorithm.tell(asked, probe, dither.contract.Measurement(cost))[0]

    for k in range(8):
        state = measured(state, jnp.float32(k))
    assert state.begun
    assert state.strategy.best_fitness == 0
    drifted = algorithm.on_drift(state)
    assert (int(drifted.clock.tick), int(drifted.clock.part)) == (1, 0)
    for _ in range(6):
        drifted = measured(drifted, jnp.float32(100.0))
    assert drifted.strategy.best_fitness == 100
    assert np.all(drifted.strategy.fitness_best == 100)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "PGPEE"}, "evosax has no strategy 'PGPEE'; did you mean PGPE"),
        ({"strategy": "PGPE", "population": 7}, "population = 7: Population size must be even"),
        ({"strategy": "PSO", "settings": {"inertia": 1.0}}, "did you mean inertia_coeff"),
        ({"strategy": "PSO", "settings": {"inertia_coeff": "a"}}, "does not accept these settings"),
        ({"strategy": "CMA_ES", "learning_rate": 0.1}, "has no optimizer; leave out learning_rate"),
    ],
)
def test_settings_that_evosax_does_not_take(settings, said):
    with pytest.raises(RequestError, match=said):
        Evolution(**settings)


@pytest.mark.parametrize("device", [DEVICE, NumpyDevice()])
def test_a_population_above_the_budget(device):
    algorithm = Evolution(strategy="SNES", population=64)
    with pytest.raises(RequestError, match=r"budget of 60 .* algorithm.population = 64; set a"):
        train(algorithm, 60, device)
