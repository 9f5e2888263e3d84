"""Weight perturbation on a multilayer perceptron with bounds, DAC, mismatch and noise."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither._kernels import call
from dither.algorithms import WeightMGD
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.optimizer import Optimizer
from dither.algorithms.updates import Descent
from dither.codes import Rademacher
from dither.contract import Space, wanted_outputs
from dither.devices import SimulatedDevice
from dither.devices.device import AbstractDevice
from dither.devices.imperfections import (
    DAC,
    AbstractImperfection,
    Bounds,
    CostNoise,
    Mismatch,
    OutputNoise,
)
from dither.networks import MLP
from dither.tasks.scores import SMOOTHED, cross_entropy, mse, smoothed_cross_entropy
from dither.tasks.task import Task
from dither.training.loop import Carry
from dither.training.settings import Varied, vary

ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu")
COSTS = (mse, cross_entropy, smoothed_cross_entropy)
LAYERS_IN_ORDER = 10
"""With more layers, the flat vector, ordered by name, is not in the order of the layers."""


def loop(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry
) -> Callable[[Carry, Task, Int[Array, ""]], Carry] | None:
    """The compiled loop, if it applies."""
    if type(algorithm) is not WeightMGD or type(device) is not SimulatedDevice:
        return None
    if not (_rule_fits(algorithm) and _device_fits(device) and _task_fits(task, carry)):
        return None
    if not all(name.endswith((".learning_rate", ".delta", ".sigma")) for name in carry.varied):
        return None
    rule, chip = algorithm, device

    def advance(carry: Carry, task: Task, n: Int[Array, ""]) -> Carry:
        return _advance(rule, chip, carry, task, n)

    return advance


def _rule_fits(rule: WeightMGD) -> bool:
    return (
        rule.code == Rademacher()
        and rule.optimizer in (Optimizer(), Optimizer(name="adam"))
        and rule.update == Descent()
        and rule.outliers is None
        and not isinstance(rule.learning_rate, str)
    )


def _device_fits(device: SimulatedDevice) -> bool:
    network, kinds = device.network, [type(one) for one in device.imperfections]
    space = device.space
    return (
        type(network) is MLP
        and len(network.widths) <= LAYERS_IN_ORDER
        and {network.activation, network.output} <= set(ACTIVATIONS)
        and set(kinds) <= {Bounds, DAC, CostNoise, OutputNoise, Mismatch}
        and all(kinds.count(kind) <= 1 for kind in (CostNoise, OutputNoise, Mismatch))
        and all(isinstance(one, float) for one in (space.low, space.high, space.step))
    )


def _task_fits(task: Task, carry: Carry) -> bool:
    types = (carry.algorithm.theta.dtype, task.inputs.dtype)
    plain = task.cost in COSTS and not task.sampler.learns
    return plain and all(dtype == jnp.float32 for dtype in types)


def _place(imperfections: tuple[AbstractImperfection, ...], kind: type) -> int:
    """The index of the imperfection of a kind, −1 if there is none."""
    return next((n for n, one in enumerate(imperfections) if isinstance(one, kind)), -1)


def _settings(rule: WeightMGD, device: SimulatedDevice, varied: Varied) -> Float[Array, "9"]:
    """A replica's settings, in the kernel's order."""
    rule, device = vary(rule, "algorithm", varied), vary(device, "device", varied)
    space: Space = device.space

    def sigma(kind: type) -> Any:
        place = _place(device.imperfections, kind)
        return 0.0 if place < 0 else getattr(device.imperfections[place], "sigma")  # noqa: B009

    amplitude = space.amplitude(rule.delta)
    ends = [space.confine(jnp.array([end]), amplitude)[0] for end in (-jnp.inf, jnp.inf)]
    bounds = (space.low, space.high, space.step)
    values = (rule.learning_rate, amplitude, *ends, *bounds, sigma(OutputNoise), sigma(CostNoise))
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def _advance(
    rule: WeightMGD, device: SimulatedDevice, carry: Carry, task: Task, n: Int[Array, ""]
) -> Carry:
    """Advance every replica by n measurements."""
    state, instance, tally = carry.algorithm, carry.device, carry.tally
    network, imperfections = device.network, device.imperfections
    assert isinstance(network, MLP)
    replicas, adam = len(tally.cost), rule.optimizer.name == "adam"
    moments: Any = state.optimizer[0] if adam else None
    unused = (jnp.zeros(replicas, jnp.int32), *jnp.zeros((2, replicas, 0), jnp.float32))
    changing = (
        *(state.theta, state.gradient, state.reference, state.referred),
        *(tally.cost, instance.parameters),
        *((moments.count, moments.mu, moments.nu) if adam else unused),
        jnp.stack([state.clock.tick, state.clock.part]),
    )
    wanted = wanted_outputs(jnp.zeros((len(task.inputs), network.outputs)), task.targets)
    if task.cost is smoothed_cross_entropy:
        wanted = SMOOTHED + (1 - SMOOTHED) * wanted
    gains = _place(imperfections, Mismatch)
    given = (
        instance.measured,
        *map(jax.random.key_data, (state.key, carry.data, instance.key)),
        jax.vmap(lambda varied, _: _settings(rule, device, varied))(carry.varied, tally.cost),
        instance.imperfections[gains] if gains >= 0 else jnp.zeros((replicas, 0), jnp.float32),
        n[None],
        task.inputs.reshape(len(task.inputs), -1),
        wanted.astype(jnp.float32),
    )
    result = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in changing]
    theta, gradient, reference, referred, cost, parameters, count, mu, nu, clock = call(
        "Perceptron", result, changing=len(changing)
    )(
        *changing,
        *given,
        widths=np.array(network.widths),
        activation=ACTIVATIONS.index(network.activation),
        output=ACTIVATIONS.index(network.output),
        cost=int(task.cost is not mse),
        output_noise_at=_place(imperfections, OutputNoise),
        cost_noise_at=_place(imperfections, CostNoise),
        batch=task.batch,
        central=rule.central,
        adam=adam,
        **{name: getattr(rule, name) for name in ("tau_x", "tau_theta", "tau_p")},
    )
    optimizer = state.optimizer
    if adam:
        optimizer = (moments._replace(count=count, mu=mu, nu=nu), *optimizer[1:])
    after: Carry = eqx.tree_at(
        _changed,
        carry,
        (
            *(theta, gradient, reference, referred, cost, parameters, *clock, optimizer),
            *(count + n for count in _counts(carry)),
        ),
    )
    return after


def _changed(carry: Carry) -> tuple[Any, ...]:
    """The arrays that the kernel changes, in its order, then the counts."""
    state, instance = carry.algorithm, carry.device
    of_rule = (state.theta, state.gradient, state.reference, state.referred)
    of_device = (carry.tally.cost, instance.parameters)
    clock = (state.clock.tick, state.clock.part, state.optimizer)
    return (*of_rule, *of_device, *clock, *_counts(carry))


def _counts(carry: Carry) -> tuple[Any, ...]:
    """The counters that every measurement increases, of the device and the tally."""
    instance, tally = carry.device, carry.tally
    return (instance.written, instance.measured, tally.writes, tally.measurements)
