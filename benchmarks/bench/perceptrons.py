"""Weight and node perturbation of small perceptrons, compared with a straightforward loop."""

import itertools

import numpy as np
from line import Line, Round


def _data(inputs: int, outputs: int):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2000, inputs)).astype("f4"), rng.integers(0, outputs, 2000)


def dither_weights(
    widths, batch: int, replicas: int, kind: str = "weight-mgd", kernel: bool = True
):
    """Return a contender that runs dither's loop around a simulated network.

    If `kernel` is false, the compiled kernels are disabled for the rest of the process.
    """

    def prepare() -> Round:
        import dither
        from dither import loops
        from dither.algorithms import ALGORITHMS
        from dither.training.fused import FusedLoop

        if not kernel:
            loops.compiled = lambda *_: None
        x, t = _data(widths[0], widths[-1])
        task = dither.make_task(x, t, x[:10], t[:10], batch=batch, cost="mse")
        # `seconds_per_write` has no effect except that each variant gets its own compiled program
        device = dither.SimulatedDevice(
            network=dither.MLP(widths=widths), seconds_per_write=float(kernel)
        )
        rule = ALGORITHMS[kind](learning_rate=1e-3)
        loop = FusedLoop(rule, device, task, list(range(replicas)))

        def go(size: int) -> int:
            loop.advance(each := max(1, size // replicas))
            return each * replicas

        return go

    return prepare


def _cost(widths):
    import jax
    import jax.numpy as jnp

    def cost(theta, x, t, added=None):
        at, seen = 0, []
        for layer, (p, q) in enumerate(itertools.pairwise(widths)):
            w, b = theta[at : at + p * q].reshape(p, q), theta[at + p * q : at + p * q + q]
            at += p * q + q
            z = x @ w + b + (0.0 if added is None else added[layer])
            seen.append(x)
            x = jnp.tanh(z) if layer < len(widths) - 2 else z
        return jnp.mean((x - jax.nn.one_hot(t, widths[-1])) ** 2, axis=1), seen

    return cost


def plain_weights(widths, batch: int, replicas: int):
    """Return a contender that computes forward differences along random signs.

    The loop is one of JAX's own loops and evaluates two costs per iteration.
    """

    def prepare() -> Round:
        import jax
        import jax.numpy as jnp

        x, t = map(jnp.asarray, _data(widths[0], widths[-1]))
        cost, P = _cost(widths), sum(p * q + q for p, q in itertools.pairwise(widths))

        def turn(key, n, theta):
            for_signs, for_batch = jax.random.split(jax.random.fold_in(key, n))
            rows = jax.random.randint(for_batch, (batch,), 0, len(x))
            p = 1e-3 * jax.random.rademacher(for_signs, (P,), jnp.float32)
            change = cost(theta + p, x[rows], t[rows])[0] - cost(theta, x[rows], t[rows])[0]
            return theta - 1e-3 * jnp.mean(change) / 1e-6 * p

        @jax.jit
        def loop(keys, theta, size):
            every = jax.vmap(turn, (0, None, 0))
            return jax.lax.fori_loop(0, size, lambda n, theta: every(keys, n, theta), theta)

        keys = jax.random.split(jax.random.key(0), replicas)
        theta = 0.1 * jax.random.normal(jax.random.key(1), (replicas, P))

        def go(size: int) -> int:
            loop(keys, theta, turns := max(1, size // 2 // replicas)).block_until_ready()
            return 2 * turns * replicas

        return go

    return prepare


def plain_nodes(widths, batch: int):
    """Return a contender that perturbs nodes.

    Each iteration runs a clean pass and a pass with noise at every neuron, and uses the change of
    each example's cost.
    """

    def prepare() -> Round:
        import jax
        import jax.numpy as jnp

        x, t = map(jnp.asarray, _data(widths[0], widths[-1]))
        cost, P = _cost(widths), sum(p * q + q for p, q in itertools.pairwise(widths))

        def turn(n, theta):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(0), n), len(widths))
            rows = jax.random.randint(keys[-1], (batch,), 0, len(x))
            added = [
                1e-3 * jax.random.rademacher(key, (batch, q), jnp.float32)
                for key, q in zip(keys, widths[1:])
            ]
            clean, seen = cost(theta, x[rows], t[rows])
            change = (cost(theta, x[rows], t[rows], added)[0] - clean) / 1e-6 / batch
            parts = []
            for a, inputs in zip(added, seen):
                error = change[:, None] * a
                parts += [(inputs.T @ error).ravel(), error.sum(0)]
            return theta - 1e-3 * jnp.concatenate(parts)

        loop = jax.jit(lambda theta, size: jax.lax.fori_loop(0, size, turn, theta))
        theta = 0.05 * jax.random.normal(jax.random.key(1), (P,))

        def go(size: int) -> int:
            loop(theta, size // 2).block_until_ready()
            return size // 2 * 2

        return go

    return prepare


def evosax(widths, batch: int, population: int):
    """Return a contender that runs OpenAI's evolution strategy in evosax.

    Each iteration evaluates one population. A single network is trained.
    """

    def prepare() -> Round:
        import jax
        import jax.numpy as jnp
        from evosax.algorithms import Open_ES

        x, t = map(jnp.asarray, _data(widths[0], widths[-1]))
        cost, P = _cost(widths), sum(p * q + q for p, q in itertools.pairwise(widths))
        theta = 0.1 * jax.random.normal(jax.random.key(1), (P,))
        strategy = Open_ES(population_size=population, solution=theta)
        settings = strategy.default_params
        start = strategy.init(jax.random.key(2), theta, settings)

        def turn(n, state):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(0), n), 3)
            rows = jax.random.randint(keys[0], (batch,), 0, len(x))
            members, state = strategy.ask(keys[1], state, settings)
            costs = jax.vmap(lambda one: jnp.mean(cost(one, x[rows], t[rows])[0]))(members)
            return strategy.tell(keys[2], members, costs, state, settings)[0]

        loop = jax.jit(lambda state, size: jax.lax.fori_loop(0, size, turn, state))

        def go(size: int) -> int:
            turns = max(1, size // population)
            jax.block_until_ready(loop(start, turns))
            return turns * population

        return go

    return prepare


def _weights(widths, batch: int, replicas: int) -> Line:
    contenders = {
        "dither": dither_weights(widths, batch, replicas),
        "plain JAX": plain_weights(widths, batch, replicas),
    }
    if batch > 1 and replicas > 1 and len(widths) == 3 and widths[0] < 100:
        contenders["evosax"] = evosax(widths, batch, replicas)
    # last, since it disables the kernels
    contenders["dither without kernels"] = dither_weights(widths, batch, replicas, kernel=False)
    P = sum(p * q + q for p, q in itertools.pairwise(widths))
    return Line("measurements", contenders, operations=2 * batch * P)


def _beside(replicas: int) -> str:
    return f"{replicas} replica{'s' * (replicas > 1)}"


SMALL, LARGE = (49, 4, 4), (784, 32, 10)

LINES = {
    **{
        f"49-4-4, batch {batch}, {_beside(replicas)}": _weights(SMALL, batch, replicas)
        for batch in (1, 64)
        for replicas in (1, 32, 1024)
    },
    **{
        f"784-32-10, batch 100, {_beside(replicas)}": _weights(LARGE, 100, replicas)
        for replicas in (1, 8)
    },
    "nodes 784-256-10, batch 100": Line(
        "measurements",
        {
            "dither": dither_weights((784, 256, 10), 100, 1, "node-perturbation"),
            "plain JAX": plain_nodes((784, 256, 10), 100),
        },
        # every second measurement is correlated, which costs another pass
        operations=3 * 100 * (784 * 256 + 256 * 10),
    ),
}
