"""Speed and memory: `make bench`. Timings are noisy; compare numbers of one run only."""

import os
import subprocess
import sys
import time

import numpy as np


def fused(replicas: int = 1024, measurements: int = 20_000) -> float:
    """Measurements per second of NIST7x7 at batch 1 over replicas, all cores."""
    from dither.cli.train import use_all_cores

    use_all_cores()
    import dither
    from dither.training.fused import FusedLoop

    setting = dither.read_specification("nist7x7")
    loop = FusedLoop(setting.algorithm, setting.device, setting.task.load(), list(range(replicas)))
    loop.advance(100)
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        loop.advance(measurements // 5)
        rates.append(replicas * (measurements // 5) / (time.perf_counter() - begin))
    return float(np.median(rates))


class Nothing:
    """A device that does nothing."""

    parameters = 220

    def write(self, theta: np.ndarray) -> None:
        """Forget what is written."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Zeros."""
        return np.zeros((len(inputs), 4))


def hosted(measurements: int = 64 * 500) -> float:
    """Microseconds per measurement around a Python object, probes asked in blocks of 64."""
    import dither
    from dither.instruments.python import PythonDevice
    from dither.training.hosted import HostedLoop

    setting = dither.read_specification(
        "nist7x7", ["algorithm.tau_theta=640", "algorithm.pairs=central"]
    )
    loop = HostedLoop(setting.algorithm, PythonDevice(Nothing()), setting.task.load(), 0, 10)
    loop.advance(640)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        loop.advance(measurements // 5)
        times.append((time.perf_counter() - begin) / (measurements // 5))
    return 1e6 * float(np.median(times))


def _mirrors(selection: str, replicas: int, tests: int) -> float:
    from dither.cli.train import use_all_cores

    use_all_cores()
    import dither
    from dither.training.fused import FusedLoop

    setting = dither.read_specification(
        "mackey-glass-boolean", [f"algorithm.selection={selection}", "device.access=cost"]
    )
    loop = FusedLoop(setting.algorithm, setting.device, setting.task.load(), list(range(replicas)))
    loop.advance(100)
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        loop.advance(tests // 5)
        rates.append(replicas * (tests // 5) / (time.perf_counter() - begin))
    return float(np.median(rates))


def mirrors(replicas: int = 128, tests: int = 10_000) -> float:
    """Mirror tests per second at N = 961, T = 500 over replicas, all cores."""
    return _mirrors("uniform", replicas, tests)


def mirrors_greedy(replicas: int = 32, tests: int = 2_000) -> float:
    """The same with the published greedy rule, which draws N random numbers a test."""
    return _mirrors("greedy", replicas, tests)


def mirrors_bound(replicas: int = 128, samples: int = 500, neurons: int = 961) -> float:
    """The most tests per second that the memory allows: a test reads two columns of T floats.

    Random columns of a set as large as that of all replicas, read by as many processes as cores.
    """
    script = (
        "import sys, time; import numpy as np; "
        f"rows = {replicas * neurons // (os.cpu_count() or 1)}; T = {samples}; "
        "c = np.ones((rows, T), 'f4'); i = np.random.default_rng(0).integers(rows, size=200000); "
        "begin = time.perf_counter(); s = 0.0\n"
        "for k in range(0, 200000, 1000): s += c[i[k:k+1000]].max()\n"
        "print(100000 / (time.perf_counter() - begin))"
    )
    command = [sys.executable, "-c", script]
    ran = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    return sum(float(process.communicate()[0]) for process in ran)


def prefix(d: int = 8, iterations: int = 20) -> float:
    """Measurements per second of Oripov2025 by weights, what they share computed once."""
    import jax

    from dither.papers.oripov2025.network import network_of
    from dither.papers.oripov2025.simulation import MEASURED, Scheme, State, begin, iterate
    from dither.papers.oripov2025.training import fashion_mnist
    from dither.tasks import Task

    scheme, key = Scheme(method="weight", d=d), jax.random.key(0)

    @jax.jit
    def several(state: State, task: Task) -> State:
        return jax.lax.fori_loop(0, iterations, lambda _, s: iterate(scheme, key, task, s), state)

    state = jax.block_until_ready(several(begin(scheme, key), fashion_mnist()))
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        state = jax.block_until_ready(several(state, fashion_mnist()))
        measurements = iterations * MEASURED * len(network_of(d).layers)
        rates.append(measurements / (time.perf_counter() - begun))
    return float(np.median(rates))


def prefix_plain(d: int = 8, iterations: int = 5) -> float:
    """The same with every measurement a pass through the whole network."""
    import jax
    import jax.numpy as jnp
    from jaxtyping import Array, Float, Int

    from dither.contract import Parameters
    from dither.papers.oripov2025.network import network_of
    from dither.papers.oripov2025.simulation import MEASURED, Scheme, own, smoothed_costs
    from dither.papers.oripov2025.training import fashion_mnist

    scheme, network, task = Scheme(method="weight", d=d), network_of(d), fashion_mnist()
    inputs, labels = np.asarray(task.inputs), np.asarray(task.targets)
    parameters, rng = network.init(jax.random.key(0)), np.random.default_rng(0)

    @jax.jit
    def measure(parameters: Parameters, x: Array, labels: Int[Array, " B"]) -> Float[Array, ""]:
        return jnp.mean(smoothed_costs(network(parameters, x).T[:, None], labels))

    def iteration(parameters: Parameters) -> Parameters:
        rows = rng.integers(len(inputs), size=scheme.batch)
        batch, steps = (inputs[rows], labels[rows]), {}
        for layer in network.layers:
            mine = own(layer, parameters)
            delta = scheme.amplitude / np.sqrt(sum(value.size for value in mine.values()))
            signs = {n: rng.choice(np.float32([-1, 1]), v.shape) for n, v in mine.items()}
            moved = {name: value + delta * signs[name] for name, value in mine.items()}
            change = measure(parameters | moved, *batch) - measure(parameters, *batch)
            steps |= {name: change * s / scheme.amplitude for name, s in signs.items()}
        return {n: v - scheme.learning_rate * steps[n] for n, v in parameters.items()}

    parameters, rates = iteration(parameters), []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(iterations):
            parameters = jax.block_until_ready(iteration(parameters))
        measurements = iterations * MEASURED * len(network.layers)
        rates.append(measurements / (time.perf_counter() - begun))
    return float(np.median(rates))


def memory(optimizer: str = "sgd") -> float:
    """What the compiled loop holds at about 10⁶ parameters, in copies of the parameters."""
    import jax.numpy as jnp

    import dither
    from dither.training.fused import FusedLoop, advance

    width = 1000
    device = dither.SimulatedDevice(network=dither.MLP(widths=(width, width, 1)))
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, width)), rng.normal(size=(8, 1))
    task = dither.make_task(x, t, x, t, batch=1)
    algorithm = dither.WeightMGD(
        learning_rate=1e-6, tau_theta=10, pairs="central", optimizer=optimizer
    )
    loop = FusedLoop(algorithm, device, task, [0])
    setting = (algorithm, device, task, jnp.int32(1))
    plan = advance.lower(setting, loop.carry).compile().compiled.memory_analysis()
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return (held - plan.alias_size_in_bytes) / (device.space.size * x.astype("f4").itemsize)


def memory_adam() -> float:
    """The same with Adam, which keeps two copies of its own."""
    return memory("adam")


MEASURES = {
    "fused": (fused, "measurements/s, NIST7x7 at batch 1, 1024 replicas", 2.5e6),
    "hosted": (hosted, "µs per measurement around a Python object, blocks of 64", 20.0),
    "mirrors": (mirrors, "mirror tests/s, N = 961, T = 500, uniform, 128 replicas", 1e6),
    "mirrors_greedy": (
        mirrors_greedy,
        "mirror tests/s, the same by the greedy rule, 32 replicas",
        None,
    ),
    "mirrors_bound": (mirrors_bound, "mirror tests/s if only two columns had to be read", 1e6),
    "prefix": (prefix, "measurements/s of Oripov2025 at d = 8, weights, batch 100", None),
    "prefix_plain": (prefix_plain, "measurements/s, the same written plainly", None),
    "memory": (memory, "copies of the parameters held at 10⁶ parameters, plain descent", 6.0),
    "memory_adam": (memory_adam, "copies of the parameters held at 10⁶ parameters, Adam", 6.0),
}


def main() -> None:
    """Each measure in a process of its own."""
    if len(sys.argv) > 1:
        function, unit, goal = MEASURES[sys.argv[1]]
        aimed = "" if goal is None else f" (goal {goal:.3g})"
        print(f"{sys.argv[1]}: {function():.4g} {unit}{aimed}")
        return
    for name in MEASURES:
        subprocess.run([sys.executable, __file__, name], check=True, env=os.environ)


if __name__ == "__main__":
    main()
