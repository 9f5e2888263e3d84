"""Predictors for the networks of size_study.py that require no training by its methods.

The predictors are computed for each network that was trained by backpropagation. They are the time
of the gradient flow to the target accuracy and, along the flow, the effective rank, tr H,
lambda_max and E[GᵀHG] / |g|². The latter is the curvature along a single gradient estimate G of a
method; the estimates are made by the algorithm itself.
"""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from dither import MLP, SimulatedDevice
from dither.tasks import Task
from dither.training.fit import problem_of
from dither.training.fused import Carry, measure_once, start
from size_study import METHODS, NETWORKS, TARGET, Network, Row, keep, load, read, same

FORETOLD = ("weight", "node", "node, per example")
"""Methods whose gradient estimates are sampled along the path."""
PATHS = (0, 1, 2)
"""Seeds of the initial weights at which the flow starts."""
POINTS, STRIDE, DRAWS = 4, 8, 32
"""Evaluated points per path; steps between two scores; estimates sampled per point."""
SLOPED, CURVED = 2048, 512
"""Training samples for gradients and for curvatures."""


class Local:
    """The cost of a network on many samples, with its gradient and its curvature."""

    def __init__(self, device: SimulatedDevice, task: Task) -> None:
        def cost(theta: jax.Array, samples: int) -> jax.Array:
            outputs = device.network(device.space.unravel(theta), task.inputs[:samples])
            return jnp.mean(task.cost(outputs, task.targets[:samples]))

        def bend(theta: jax.Array, v: jax.Array) -> jax.Array:
            return jax.jvp(jax.grad(lambda t: cost(t, CURVED)), (theta,), (v,))[1]

        def follow(theta: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
            theta = jax.lax.fori_loop(
                0, STRIDE, lambda _, t: t - rate * jax.grad(cost)(t, SLOPED), theta
            )
            outputs = device.network(device.space.unravel(theta), task.test_inputs)
            return theta, task.score(outputs, task.test_targets)

        def look(theta: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            g = jax.grad(cost)(theta, SLOPED)

            def probe(key: jax.Array) -> jax.Array:
                s = jax.random.rademacher(key, theta.shape, theta.dtype)
                return jnp.vdot(s, bend(theta, s))

            traces = jax.lax.map(probe, jax.random.split(key, DRAWS))
            return jnp.vdot(g, g), jnp.mean(traces), jnp.vdot(g, bend(theta, g))

        self.device, self.task = device, task
        self.bend, self.look, self.follow = jax.jit(bend), jax.jit(look), jax.jit(follow)

    def path(self, seed: int, rate: float, target: float) -> tuple[float, list[jax.Array]]:
        """The time of the flow from a seed's initial weights to the target; points on its path."""
        initial = jax.random.split(jax.random.key(seed), 4)[0]  # as in training
        way, score = [self.device.initial(initial)], jnp.zeros(())
        while score < target:
            theta, score = self.follow(way[-1], rate)
            way.append(theta)
        ends = np.linspace(0, len(way) - 1, POINTS).round().astype(int)
        return rate * STRIDE * (len(way) - 1), [way[i] for i in ends]

    def largest(self, theta: jax.Array) -> float:
        """lambda_max, by the Lanczos method."""

        def matvec(v: np.ndarray) -> np.ndarray:
            return np.asarray(self.bend(theta, jnp.asarray(v, theta.dtype)))

        N, start = theta.size, np.random.default_rng(0).normal(size=theta.size)
        H = LinearOperator((N, N), matvec=matvec, dtype=np.float32)
        return float(eigsh(H, k=1, which="LA", tol=0.02, v0=start, return_eigenvectors=False)[0])

    def met(self, method: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """The mean of GᵀHG over estimates G that the algorithm makes at given weights."""
        algorithm = METHODS[method].model_copy(update={"learning_rate": 0.0})
        device, task = self.device, self.task

        def estimate(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
            def once(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
                carry, _, info = measure_once(algorithm, device, task, carry)
                return carry, info.estimate

            carry, estimates = jax.lax.scan(once, carry, None, length=2)
            return carry, estimates[-1]

        def bent(theta: jax.Array, seed: jax.Array) -> jax.Array:
            carry = start(algorithm, device, problem_of(device, self.task), seed)
            learning = algorithm.init(jax.random.key(seed), theta, problem_of(device, self.task))
            carry = eqx.tree_at(lambda c: c.algorithm, carry, learning)
            carry, _ = jax.lax.scan(lambda c, _: (estimate(c, None)[0], None), carry, None, DRAWS)

            def one(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
                carry, G = estimate(carry, None)
                return carry, jnp.vdot(G, self.bend(theta, G))

            return jnp.mean(jax.lax.scan(one, carry, None, DRAWS)[1])

        return bent


def foretold(network: Network, task: Task, rate: float) -> Row:
    """Compute the predictors of one network."""
    name, inputs, hidden = network
    began = time.perf_counter()
    device = SimulatedDevice(network=MLP(widths=(inputs, hidden, 10)))
    local = Local(device, task)
    paths = [local.path(seed, rate / 8, TARGET[name]) for seed in PATHS]
    ways = [way for _, way in paths]
    row = {
        "task": name, "inputs": inputs, "hidden": hidden, "parameters": device.space.size,
        "nodes": hidden + 10, "flow": [time for time, _ in paths],
    }  # fmt: skip

    def along(look: Callable[..., Any]) -> np.ndarray:
        return np.array([[look(theta, seed) for theta in way] for seed, way in zip(PATHS, ways)])

    looks = along(lambda theta, seed: [float(x) for x in local.look(theta, jax.random.key(seed))])
    squared, trace, bent = np.moveaxis(looks, -1, 0)
    row["trace"], row["largest"] = trace.tolist(), along(lambda t, _: local.largest(t)).tolist()
    row["effective rank"] = (squared * trace / bent).tolist()
    row["met"] = {
        method: (along(jax.jit(local.met(method))) / squared).tolist() for method in FORETOLD
    }
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Compute the missing predictors of all networks trained by backpropagation."""
    for network in NETWORKS:
        found = read()
        reference = [
            row["rate"]
            for row in found["trainings"]
            if same(row, network) and row["method"] == "backpropagation"
        ]
        if reference and not any(same(row, network) for row in found["laws"]):
            keep("laws", foretold(network, load(*network[:2]), reference[0]))


if __name__ == "__main__":
    main()
