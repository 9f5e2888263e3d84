"""The model of a real device, adjusted by a few measurements of the device."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither.contract import Parameters
from dither.devices.imperfections import DAC, AbstractImperfection, Bounds, OutputNoise
from dither.devices.simulated import SimulatedDevice
from dither.instruments import trials
from dither.instruments.python import PythonDevice
from dither.instruments.under_test import DeviceUnderTest
from dither.tasks.task import Task

READINGS = 10
"""Repeated readings; the same number follows with a write away and back before each."""

UNLIKE = 0.5
"""The correlation below which the outputs are not those of the model."""


@dataclass(frozen=True)
class Probe:
    """The properties of a device from a few measurements.

    Attributes: `device`, its name; `measurements`, made; `noise`, the standard deviation of an
    output; `write_seconds`, `measurement_seconds`; `agreement`, the correlation of the device's
    outputs with the model's at the same parameters, None if the parameters have other names;
    `model`, with these properties.
    """

    device: str
    measurements: int
    noise: float
    write_seconds: float
    measurement_seconds: float
    agreement: float | None
    model: SimulatedDevice

    def facts(self) -> dict[str, Any]:
        """The probe as plain values."""
        return {name: value for name, value in vars(self).items() if name != "model"}

    def line(self) -> str:
        """The probe as one line."""
        said = f"{self.device}: {self.measurements} measurements; noise {self.noise:.3g}"
        if self.agreement is None:
            return said + "; not compared with the model, whose parameters have other names"
        line = f"{said}; correlation of its outputs with the model's: {self.agreement:.2f}"
        if self.agreement < UNLIKE:
            line += ". The model does not describe this device, and the plan may be wrong"
        return line


def probed(device: PythonDevice, model: SimulatedDevice, task: Task) -> Probe:
    """Measure a device a few times, and adjust its model to the results.

    The access level, bounds, DAC steps, noise, and the times of writes and measurements are those
    of the device. The network is that of the model, with initial weights of the device's size. The
    imperfections and energies of the model are left out.

    Arguments: the device; a simulated device with as many parameters; the task.
    Errors: `RequestError` for a device that shows only a cost or has another number of parameters,
    for a failed self-test, or if half of the readings fail.
    """
    if device.by_cost:
        raise RequestError(
            f"The device {device.name} shows only a cost, which gives no score to plan for."
        )
    if model.space.size != device.space.size:
        raise RequestError(
            f"The model has {model.space.size} parameters, but the device {device.name} has "
            f"{device.space.size}; give a model of the same network."
        )
    dut = DeviceUnderTest(device, task)
    device.self_test(dut.inputs, dut.targets, task.outputs)
    seen = trials.repeat(dut, READINGS)
    if 2 * len(dut.visits) < dut.readings:
        raise RequestError(
            f"The device {device.name} failed {dut.failed} of {dut.readings} readings."
        )
    noise = max(seen.still, seen.written)
    write, read = (float(np.median(times)) for times in (dut.write_seconds, dut.read_seconds))
    told = {
        "network": _scaled(model, dut),
        "imperfections": (*_limits(device), *([OutputNoise(sigma=noise)] if noise else [])),
        "access": device.access_level.name.lower(),
        "seconds_per_write": write,
        "seconds_per_measurement": read,
        "joules_per_write": 0.0,
        "joules_per_measurement": 0.0,
    }
    agreement = _agreement(device, model, dut)
    completed = model.model_copy(update=told)
    return Probe(device.name, dut.readings + 1, noise, write, read, agreement, completed)


def _limits(device: PythonDevice) -> tuple[AbstractImperfection, ...]:
    """The bounds that all parameters share, with the nearest power of two of steps."""
    low, high = float(np.max(device.extent.low)), float(np.min(device.extent.high))
    if not np.isfinite(high - low) or low >= high:
        return ()
    bits = round(float(np.log2(max(1, *device.extent.levels.values()))))
    return (DAC(bits=bits, low=low, high=high) if bits else Bounds(low=low, high=high),)


def _scaled(model: SimulatedDevice, dut: DeviceUnderTest) -> Any:
    """The network, with initial weights of the size of the device's."""
    network = model.network
    own = np.asarray(model.initial(jax.random.key(0)), float)
    size, theirs = (float(np.sqrt(np.mean(values**2))) for values in (own, dut.start + dut.origin))
    if not hasattr(network, "gain") or not theirs:
        return network
    return network.model_copy(update={"gain": network.gain * theirs / size})


def _agreement(device: PythonDevice, model: SimulatedDevice, dut: DeviceUnderTest) -> float | None:
    """The correlation of the outputs with the model's, each minus its mean over the batch."""
    theta = device.space.unravel(jnp.asarray(dut.start + dut.origin))
    if {n: v.shape for n, v in theta.items()} != {p.name: p.shape for p in model.space.parameters}:
        return None
    read = np.mean([reading for _, reading in dut.visits], axis=0).reshape(len(dut.inputs), -1)
    return _correlation(read, model, theta, dut.inputs)


def _correlation(
    read: Float[np.ndarray, "B K"], model: SimulatedDevice, theta: Parameters, inputs: np.ndarray
) -> float:
    own = np.array(model.network(theta, jnp.asarray(inputs)), float).reshape(read.shape)
    a, b = (y - y.mean(axis=0) if len(y) > 1 else y - y.mean() for y in (own, read))
    size = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / size if size else 0.0
