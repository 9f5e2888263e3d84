"""The types that connect the parts: probes, measurements, the parameter space, the problem.

Algorithms, devices and the loop depend on each other through these types only.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from dither._space import Parameter as Parameter
from dither._space import Space as Space

Cost: TypeAlias = Callable[[Float[Array, "B K"], Num[Array, "B ..."]], Float[Array, " B"]]
"""A cost of each sample, from outputs and targets."""

Parameters: TypeAlias = dict[str, Array]
"""A network's parameters: arrays under names such as `dense0/weight`."""


class AccessLevel(enum.IntEnum):
    """What can be measured of a device; each level includes the lower ones."""

    COST = 0
    """Only the cost of a batch."""
    OUTPUTS = 1
    """The outputs for each sample."""
    SITES = 2
    """Perturbations can be added to the neurons' inputs, and the layers' inputs can be read."""
    GRADIENTS = 3
    """Exact gradients; simulations only."""


class Status(enum.IntEnum):
    """How a measurement ended. An unfinished measurement has no value."""

    DONE = 0
    FAILED = 1
    TIMED_OUT = 2
    ABANDONED = 3


class Clock(eqx.Module):
    """The time of a probe: `tick` counts perturbations, `part` the measurements within a tick."""

    tick: Int[Array, ""]
    part: Int[Array, ""]


class SparseWrite(eqx.Module):
    """A write of a few parameters, such as one mirror; the others are unchanged.

    Attributes: `places`, the indices among the P parameters, where index P writes nothing;
    `values`, the new values.
    """

    places: Int[Array, " K"]
    values: Float[Array, " K"]

    def into(self, parameters: Float[Array, " P"]) -> Float[Array, " P"]:
        """All parameters after the write."""
        return parameters.at[self.places].set(self.values, mode="drop")


class Probe(eqx.Module):
    """A measurement that an algorithm requests: what to write and what to measure.

    Attributes: `clock`, its time; `parameters`, the values to program first, on the device's grid,
    all or a few; `updated`, whether the unperturbed parameters have changed since the last probe;
    `changed`, whether the programmed values differ from the last probe's and must be written;
    `batch_index`, the number of the batch to measure; `sites`, the perturbations of the neurons'
    inputs, by site.
    """

    clock: Clock
    parameters: Float[Array, " P"] | SparseWrite
    updated: Bool[Array, ""]
    batch_index: Int[Array, ""]
    sites: dict[str, Array] | None = None
    changed: Bool[Array, ""] | bool = True

    @property
    def theta(self) -> Float[Array, " P"]:
        """All parameters, if the probe writes all."""
        if isinstance(self.parameters, SparseWrite):
            raise TypeError("a sparse probe holds only some of the parameters")
        return self.parameters

    @property
    def sparse(self) -> SparseWrite:
        """The sparse write, if the probe writes a few parameters."""
        if not isinstance(self.parameters, SparseWrite):
            raise TypeError("this probe writes all parameters")
        return self.parameters

    @property
    def added(self) -> dict[str, Array]:
        """The perturbations at the sites, if the probe perturbs neurons."""
        if self.sites is None:
            raise TypeError("this probe does not perturb the sites")
        return self.sites


class Sites(eqx.Module):
    """Readings at the sites: `costs` per sample and, by layer, the `inputs` x and z.

    The `preactivations` z include the added perturbations; they are None if the device does not
    show them.
    """

    costs: Float[Array, " B"]
    inputs: dict[str, Array]
    preactivations: dict[str, Array] | None = None

    @property
    def z(self) -> dict[str, Array]:
        """The preactivations by layer. Errors: `TypeError` if the device does not show them."""
        if self.preactivations is None:
            raise TypeError("this device does not show its neurons' preactivations")
        return self.preactivations


def wanted_outputs(
    outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]
) -> Float[Array, "B K"]:
    """Targets as outputs: class labels become one-hot rows (one output: 0 or 1); values stay."""
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return targets.reshape(outputs.shape)
    if outputs.shape[-1] == 1:
        return targets.reshape(-1, 1).astype(outputs.dtype)
    return jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)


class Outputs(eqx.Module):
    """The outputs `y` of a batch, the `targets` they are compared with, and the inputs."""

    y: Float[Array, "B K"]
    targets: Num[Array, "B ..."]
    inputs: Num[Array, "B ..."]

    @property
    def wanted(self) -> Float[Array, "B K"]:
        """The targets as outputs."""
        return wanted_outputs(self.y, self.targets)


class Measurement(eqx.Module):
    """The result of a probe: the cost of the batch, and whatever the access level adds.

    Attributes: `cost`, the mean over the batch, minus a constant if its zero is unknown. `outputs`,
    `sites` and `gradient` exist from the access level of the same name upwards; reading one at a
    lower level raises a `TypeError`.
    """

    cost: Float[Array, ""]
    _outputs: Outputs | None = None
    _sites: Sites | None = None
    _gradient: Float[Array, " P"] | None = None
    taken_off: Float[Array, ""] | tuple[()] = ()

    @property
    def whole_cost(self) -> Float[Array, ""]:
        """The cost including the subtracted constant, in single precision."""
        return self.cost if isinstance(self.taken_off, tuple) else self.cost + self.taken_off

    @property
    def outputs(self) -> Outputs:
        """The outputs and their targets."""
        if self._outputs is None:
            raise TypeError("this measurement has a cost but no outputs")
        return self._outputs

    @property
    def sites(self) -> Sites:
        """The costs per sample and the readings of the layers."""
        if self._sites is None:
            raise TypeError("this measurement has no readings of sites")
        return self._sites

    @property
    def gradient(self) -> Float[Array, " P"]:
        """The exact gradient of the cost with respect to the parameters."""
        if self._gradient is None:
            raise TypeError("this measurement has no gradient")
        return self._gradient


class Reference(eqx.Module):
    """The forward pass that probes are compared with, and what the next probe shares with it.

    Attributes: `parameters`, `batch_index`; `new`, whether this pass differs from the previous
    probe's reference; `first`, the index in `names` of the layer that the next probe changes, and
    the number of layers for a probe that changes nothing. A probe changes only that layer's
    parameters or the perturbation of its z. `first` is None for probes that perturb the z of any
    layers and change no parameters.
    """

    parameters: Float[Array, " P"]
    batch_index: Int[Array, ""]
    new: Bool[Array, ""]
    first: Int[Array, ""] | None
    names: tuple[str, ...] = eqx.field(static=True)


class Known(eqx.Module):
    """What a pass shares with its reference: the layers' `inputs` and the outputs; `first`; `rows`.

    `first` is the layer that changes, 0 if the batch changes too. If it is None, the `inputs` are
    those of the first layer, if kept, and its unperturbed z. `rows` are the batch's samples, if
    they need not be drawn again.
    """

    inputs: tuple[Float[Array, "B ..."], ...]
    first: Int[Array, ""] | None
    rows: Int[Array, " B"] | None = None


class Batch(eqx.Module):
    """The samples of one measurement."""

    inputs: Float[Array, "B ..."]
    targets: Num[Array, "B ..."]


def keep(x: Array) -> Array:
    """Return the argument."""
    return x


@dataclass(frozen=True)
class Layer:
    """A single layer; each step is a pure function.

    `z = forward(own, x)`, `a = activation(z)`, `x = onward(a)` for the next layer, with `own` the
    layer's parameters under short names such as `weight`. A change e of z acts on them by the
    vector-Jacobian product of `forward` with e.

    A recurrent layer has z of shape (T, n) for T steps; its x holds the input of each step and the
    layer's own a of the previous step. The rule therefore holds at fixed x if e is the effect of a
    change of z_t on the cost through all later steps.

    Attributes: `name`; `nodes`, the shape of z for one example; `forward`; `activation`; `onward`,
    such as pooling and flattening; `features`, the map from x to what the weights multiply, with
    W's leading axes merged: `z = features(x) W + b`; x itself in a dense layer, patches in a
    convolution; `groups`, the number of equal groups of channels (z's last axis) that the layer
    does not mix; `patchwise`, whether the layer does not mix positions along z's other axes;
    `from_output`, z of a last layer as a function of the device's outputs, None if unknown.
    """

    name: str
    nodes: tuple[int, ...]
    forward: Callable[[Parameters, Array], Array]
    activation: Callable[[Array], Array] = keep
    onward: Callable[[Array], Array] = keep
    features: Callable[[Array], Array] = keep
    groups: int = 1
    patchwise: bool = False
    from_output: Callable[[Array], Array] | None = None

    def __call__(self, parameters: Parameters, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """z for a batch of inputs, given all the network's parameters."""
        return self.forward(self.own(parameters), x)

    def own(self, parameters: Parameters) -> Parameters:
        """The layer's parameters under their short names, from all the network's."""
        start = f"{self.name}/"
        return {k.removeprefix(start): v for k, v in parameters.items() if k.startswith(start)}


def no_cost(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, " B"]:
    """The default cost of a problem without one. Errors: always `TypeError`."""
    del outputs, targets
    raise TypeError("this problem has no cost of outputs and targets")


@dataclass(frozen=True)
class Problem:
    """What an algorithm knows about its run.

    Arguments: `space`, the programmable parameters; `layers`, those whose neurons can be perturbed,
    () if none; `batch`, B, the samples per measurement; `outputs`, K, of each sample; `cost`, of
    each sample; `shows_z`, whether the preactivations can be read; `least`, the lowest value of the
    cost, None if unknown; `repeats_batches`, whether batches can be measured again because dither
    feeds them to the device; `network`, that of a simulated device, None for other devices.
    """

    space: Space
    layers: tuple[Layer, ...] = ()
    batch: int = 1
    outputs: int = 1
    cost: Cost = no_cost
    shows_z: bool = True
    least: float | None = None
    repeats_batches: bool = True
    network: Any = field(default=None, hash=False)
