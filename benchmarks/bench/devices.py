"""Overhead of dither per measurement, from training a Python device that does nothing."""

import atexit
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from line import Line, Round


class Nothing:
    """Device that does nothing and takes one measurement per call."""

    def __init__(self, parameters: int) -> None:
        self.parameters = parameters

    def write(self, theta: np.ndarray) -> None:
        """Ignore the parameters."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return zeros."""
        return np.zeros((len(inputs), 4))


class Blocks(Nothing):
    """Device that does nothing and takes a block of measurements per call."""

    def measure_block(
        self, settings: np.ndarray, inputs: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """Return zeros."""
        del targets
        return np.zeros((len(settings), inputs.shape[1], 4))


def ours(device: Callable[[int], Any], parameters: int, tau: int):
    """Return a contender that runs dither's loop with an update every `tau` perturbations."""

    def prepare() -> Round:
        import dither
        from dither.instruments.python import PythonDevice
        from dither.tasks import NIST7x7
        from dither.training.hosted import HostedLoop

        rule = dither.WeightMGD(learning_rate=1e-6, tau_theta=tau, tau_x=tau)
        loop = HostedLoop(rule, PythonDevice(device(parameters)), NIST7x7().load(), 0, 10)

        def go(size: int) -> int:
            size = -(-size // (tau + 1)) * (tau + 1)  # whole blocks only, whose sizes are compiled
            before = done = int(loop.ledger.measurements[0])
            while done < before + size:
                loop.advance(before + size - done)
                done = int(loop.ledger.measurements[0])
            return done - before

        return go

    return prepare


SERVED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import devices
class Single(devices.Nothing):
    def __init__(self):
        super().__init__(220)
class Together(devices.Blocks):
    def __init__(self):
        super().__init__(220)
"""


def served(name: str):
    """Return a factory of clients of a device that is served by another process.

    The processor time of the server is not counted.
    """

    def connect(parameters: int) -> Any:
        from dither.remote.client import RemoteObject

        del parameters
        folder = Path(tempfile.mkdtemp())
        (folder / "lab.py").write_text(SERVED)
        server = subprocess.Popen(
            [sys.executable, "-m", "dither.remote", f"lab.py:{name}", "--listen", "127.0.0.1:0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(server.terminate)
        assert server.stdout is not None
        address = server.stdout.readline().rpartition("remote://")[2].strip()
        return RemoteObject(address, token_file=folder / "dither-token")

    return connect


def numpy_loop(parameters: int):
    """Return a contender that perturbs, measures and correlates in NumPy.

    It checks nothing and stores nothing.
    """

    def prepare() -> Round:
        rng, theta, x = np.random.default_rng(0), np.zeros(parameters), np.zeros((1, 49))
        device = Nothing(parameters)

        def go(size: int) -> int:
            nonlocal theta
            for _ in range(size // 2 + 1):
                costs = []
                p = 1e-3 * (1 - 2.0 * rng.integers(0, 2, parameters, np.int8))
                for setting in (theta, theta + p):
                    device.write(setting)
                    costs.append(((device.measure(x) - 1.0) ** 2).mean())
                theta = theta - 1e-6 * (costs[1] - costs[0]) / 1e-6 * p
            return 2 * (size // 2 + 1)

        return go

    return prepare


def evosax_loop(parameters: int, population: int = 64):
    """Return a contender that runs OpenAI's evolution strategy in evosax.

    The ask and tell steps are called from Python.
    """

    def prepare() -> Round:
        import jax
        import jax.numpy as jnp
        from evosax.algorithms import Open_ES

        start = jnp.zeros(parameters)
        strategy = Open_ES(population_size=population, solution=start)
        settings = strategy.default_params
        state = strategy.init(jax.random.key(0), start, settings)
        ask, tell = jax.jit(strategy.ask), jax.jit(strategy.tell)
        key = jax.random.key(1)

        def go(size: int) -> int:
            nonlocal state
            for _ in range(turns := max(1, size // population)):
                members, state = ask(key, state, settings)
                np.asarray(members)
                state, _ = tell(key, members, jnp.zeros(population), state, settings)
            return turns * population

        return go

    return prepare


def _line(device: type[Nothing], parameters: int, tau: int) -> Line:
    contenders = {"dither": ours(device, parameters, tau), "NumPy": numpy_loop(parameters)}
    if device is Blocks:
        contenders["evosax"] = evosax_loop(parameters)
    return Line("measurements", contenders)


LINES = {
    "Python device, P = 220, blocks of 64": _line(Blocks, 220, 64),
    "Python device, P = 220, one by one, an update every 64": _line(Nothing, 220, 64),
    "Python device, P = 220, one by one, an update each": _line(Nothing, 220, 1),
    "Python device, P = 10^6, blocks of 64": _line(Blocks, 10**6, 64),
    "Served device over loopback, P = 220, an update each": Line(
        "measurements", {"dither": ours(served("Single"), 220, 1)}
    ),
    "Served device over loopback, P = 220, blocks of 64": Line(
        "measurements", {"dither": ours(served("Together"), 220, 64)}
    ),
}
