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
    from dither.devices import PythonDevice
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
    "memory": (memory, "copies of the parameters held at 10⁶ parameters, plain descent", 6.0),
    "memory_adam": (memory_adam, "copies of the parameters held at 10⁶ parameters, Adam", 6.0),
}


def main() -> None:
    """Each measure in a process of its own."""
    if len(sys.argv) > 1:
        function, unit, goal = MEASURES[sys.argv[1]]
        print(f"{sys.argv[1]}: {function():.4g} {unit} (goal {goal:.3g})")
        return
    for name in MEASURES:
        subprocess.run([sys.executable, __file__, name], check=True, env=os.environ)


if __name__ == "__main__":
    main()
