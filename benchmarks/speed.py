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


def layerwise(d: int = 8, iterations: int = 20) -> float:
    """Measurements per second of the network of Oripov2025 by weights, layer by layer."""
    import dither
    from dither.training.fit import check_fit
    from dither.training.fused import FusedLoop

    network = dither.networks.CNN(
        channels=(d, 2 * d, 4 * d), depth=2, padding="same", dense=(4 * d, 4 * d), activation="tanh"
    )
    device = dither.SimulatedDevice(network=network)
    task = dither.tasks.FashionMNIST(cost="smoothed_cross_entropy").load()
    rule = dither.algorithms.LayerwiseMGD(learning_rate=1e-3, delta=0.01, normalise=True)
    measurements = iterations * (1 + len(network.layers))
    until = dither.Until(measurements=measurements)
    check_fit(device, task, rule, until)
    loop = FusedLoop(rule, device, task, [0])
    loop.advance(measurements)
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        loop.advance(measurements)
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
    "layerwise": (layerwise, "measurements/s of Oripov2025 at d = 8, weights, batch 100", None),
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
