"""Weight perturbation on an ideal multilayer perceptron."""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from dither import _kernels
from dither.algorithms import WeightMGD
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.optimizer import Optimizer
from dither.algorithms.updates import Descent
from dither.codes import Rademacher
from dither.contract import Clock
from dither.devices import SimulatedDevice
from dither.devices.device import AbstractDevice
from dither.networks import MLP
from dither.tasks.scores import SMOOTHED, cross_entropy, mse, smoothed_cross_entropy, wanted_outputs
from dither.tasks.task import Task
from dither.training.loop import Carry

ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu")
COSTS = (mse, cross_entropy, smoothed_cross_entropy)
VARIED = {"algorithm.learning_rate", "algorithm.delta"}


def applies(algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry) -> bool:
    """Whether the kernel computes what this rule does on this device."""
    if type(algorithm) is not WeightMGD or type(device) is not SimulatedDevice:
        return False
    network = device.network
    return (
        algorithm.code == Rademacher()
        and algorithm.optimizer == Optimizer()
        and algorithm.update == Descent()
        and algorithm.outliers is None
        and not isinstance(algorithm.learning_rate, str)
        and type(network) is MLP
        and len(network.widths) <= 10  # so that the layers lie in order
        and {network.activation, network.output} <= set(ACTIVATIONS)
        and not device.imperfections
        and task.cost in COSTS
        and not task.sampler.learns
        and set(carry.varied) <= VARIED
        and carry.algorithm.theta.dtype == task.inputs.dtype == jnp.float32
    )


def loop(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry
) -> Callable[[Carry, Task, Int[Array, ""]], Carry] | None:
    """The compiled loop where it applies."""
    if not applies(algorithm, device, task, carry):
        return None
    assert isinstance(algorithm, WeightMGD)
    assert isinstance(device, SimulatedDevice)
    assert isinstance(device.network, MLP)
    network, rule = device.network, algorithm
    attributes = {
        "widths": np.array(network.widths),
        "activation": ACTIVATIONS.index(network.activation),
        "output": ACTIVATIONS.index(network.output),
        "cost": int(task.cost is not mse),
        "batch": task.batch,
        "central": rule.central,
        **{name: getattr(rule, name) for name in ("tau_x", "tau_theta", "tau_p")},
    }

    def advance(carry: Carry, task: Task, n: Int[Array, ""]) -> Carry:
        state, instance, tally = carry.algorithm, carry.device, carry.tally
        replicas = tally.cost.shape

        def each(name: str) -> Array:
            value = carry.varied.get(f"algorithm.{name}", getattr(rule, name))
            return jnp.broadcast_to(jnp.asarray(value, jnp.float32), replicas)

        changed = (state.theta, state.gradient, state.reference, state.referred,
                   tally.cost, instance.parameters,
                   jnp.stack([state.clock.tick, state.clock.part]))  # fmt: skip
        result = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in changed]
        wanted = wanted_outputs(jnp.zeros((1, network.outputs)), task.targets)
        if task.cost is smoothed_cross_entropy:
            wanted = SMOOTHED + (1 - SMOOTHED) * wanted
        keys = (jax.random.key_data(key) for key in (state.key, carry.data))
        rate_and_size = (each("learning_rate"), each("delta"))
        inputs = task.inputs.reshape(len(task.inputs), -1)
        theta, gradient, reference, referred, cost, parameters, clock = _kernels.call(
            "Perceptron", result
        )(*changed, *keys, *rate_and_size, n[None], inputs, wanted, **attributes)
        state = replace(
            state,
            clock=Clock(tick=clock[0], part=clock[1]),
            theta=theta,
            gradient=gradient,
            reference=reference,
            referred=referred,
        )
        instance = replace(
            instance,
            written=instance.written + n,
            measured=instance.measured + n,
            parameters=parameters,
        )
        tally = replace(
            tally, measurements=tally.measurements + n, writes=tally.writes + n, cost=cost
        )
        after: Carry = eqx.tree_at(
            lambda c: (c.algorithm, c.device, c.tally), carry, (state, instance, tally)
        )
        return after

    return advance
