"""Boolean readouts: one-by-one tests of mirrors, compared with loops in NumPy and numba."""

import numpy as np
from line import Line, Round

REMEASURED = (
    "algorithm.decision=remeasure",
    "device.imperfections=[{ kind = 'cost-noise', sigma = 0.001 }]",
)
NOISY = ("device.imperfections=[{ kind = 'output-noise', sigma = 0.01 }]",)


def dither_mirrors(
    selection: str, neurons: int, replicas: int, more: tuple[str, ...] = (), kernel: bool = True
):
    """Return a contender: dither's coordinate descent on the readout of a photonic reservoir."""

    def prepare() -> Round:
        import dither
        from dither import loops
        from dither.training.fused import FusedLoop

        if not kernel:
            loops.compiled = lambda *_: None
        setting = dither.read_specification(
            "mackey-glass-boolean",
            [
                f"algorithm.selection={selection}",
                "device.access=cost",
                f"device.reservoir.neurons={neurons}",
                # has no effect except that each variant gets its own compiled program
                f"device.seconds_per_write={float(kernel)}",
                *more,
            ],
        )
        loop = FusedLoop(
            setting.algorithm, setting.device, setting.task.load(), list(range(replicas))
        )
        tests = 2 if more == REMEASURED else 1
        loop.advance(1)

        def go(size: int) -> int:
            loop.advance(tests * (each := max(1, size // replicas)))
            return each * replicas

        return go

    return prepare


def _readout(neurons: int, samples: int = 500):
    rng = np.random.default_rng(0)
    columns = rng.random((neurons, samples)).astype("f4")
    target = columns[: neurons // 2].sum(0)
    return columns, (target - target.mean()) / target.std()


def _flips(columns, target, weights, light, bias, error, tests, greedy, draws, rng):
    """Test single mirrors.

    Each test flips a mirror, computes the error of the z-scored light, and undoes the flip unless
    the error fell.
    """
    for n in range(tests):
        if greedy:
            i = np.argmax(rng.random(len(bias)) * bias)
            bias += 1 / len(bias)
            bias[i] = 0.0
        else:
            i = draws[n % len(draws)]
        step = np.float32(1 - 2 * weights[i])
        light += step * columns[i]
        off = light - light.mean()
        off /= off.std()
        after = ((off - target) ** 2).mean()
        if after < error:
            error = after
            weights[i] += step
        else:
            light -= step * columns[i]
    return error


def by_hand(neurons: int, greedy: bool, compiled: bool):
    """Return a contender that runs the array loop in plain NumPy or compiled by numba."""

    def prepare() -> Round:
        columns, target = _readout(neurons)
        flips = _flips
        if compiled:
            import numba

            flips = numba.njit(fastmath=True)(_flips)
        rng = np.random.default_rng(1)
        weights = rng.integers(0, 2, neurons).astype("f4")
        light, bias = weights @ columns, np.ones(neurons)
        draws = rng.integers(0, neurons, 100_000)

        def go(size: int) -> int:
            flips(columns, target, weights, light, bias, np.float32(9.0), size, greedy, draws, rng)
            return size

        return go

    return prepare


def _line(selection: str, neurons: int, replicas: int, more: tuple[str, ...] = ()) -> Line:
    greedy = selection == "greedy"
    contenders = {"dither": dither_mirrors(selection, neurons, replicas, more)}
    if not more:  # the handwritten loops have no noise
        contenders["NumPy"] = by_hand(neurons, greedy, compiled=False)
        contenders["numba"] = by_hand(neurons, greedy, compiled=True)
    plain = dither_mirrors(selection, neurons, replicas, more, kernel=False)
    contenders["dither without kernels"] = plain  # last, since it disables the kernels
    # a test adds one column and computes the three sums of the error
    return Line("tests", contenders, operations=8 * 500, bytes=4 * 500)


def reservoir(neurons: int) -> Line:
    """Compare the states of a photonic reservoir with stacked complex couplings in JAX."""

    def ours() -> Round:
        import jax

        from dither.networks import PhotonicReservoir

        net = PhotonicReservoir(neurons=neurons)
        instance = net.fabricate(jax.random.key(0))
        inputs = jax.random.uniform(jax.random.key(1), (1000,))

        def go(size: int) -> int:
            for _ in range(times := max(1, size // 1000)):
                net.states(instance, inputs).block_until_ready()
            return 1000 * times

        return go

    def stacked() -> Round:
        import jax
        import jax.numpy as jnp

        side = int(neurons**0.5)
        kernel = jax.random.normal(jax.random.key(0), (25, side, side), jnp.complex64)
        win, offset = jax.random.uniform(jax.random.key(1), (2, side, side))
        inputs = jax.random.uniform(jax.random.key(2), (1000,))

        @jax.jit
        def run(inputs):
            def step(E, u):
                wide = jnp.pad(E, 2)
                near = jnp.stack(
                    [wide[y : y + side, x : x + side] for y in range(5) for x in range(5)]
                )
                field = jnp.sum(kernel * near, axis=0)
                phase = 0.16 * jnp.abs(field) ** 2 + 0.4 * win * u + offset
                E = jnp.cos(2 * jnp.pi * phase)
                return E, E**2

            return jax.lax.scan(step, jnp.zeros((side, side)), inputs)[1]

        def go(size: int) -> int:
            for _ in range(times := max(1, size // 1000)):
                run(inputs).block_until_ready()
            return 1000 * times

        return go

    return Line(
        "steps",
        {"dither": ours, "JAX, stacked": stacked},
        operations=110 * neurons,
        bytes=4 * 54 * neurons if neurons > 5000 else 0,
    )


LINES = {
    "mirrors N = 961, uniform, 1 replica": _line("uniform", 961, 1),
    "mirrors N = 961, uniform, 128 replicas": _line("uniform", 961, 128),
    "mirrors N = 961, greedy, 32 replicas": _line("greedy", 961, 32),
    "mirrors N = 961, measured again, 32 replicas": _line("uniform", 961, 32, REMEASURED),
    "mirrors N = 961, noisy outputs, 32 replicas": _line("uniform", 961, 32, NOISY),
    "mirrors N = 99 856, uniform, 1 replica": _line("uniform", 99_856, 1),
    "photonic reservoir, N = 1024": reservoir(1024),
    "photonic reservoir, N = 10 000": reservoir(10_000),
}
