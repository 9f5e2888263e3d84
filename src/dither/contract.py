"""What passes between the parts: probes, measurements, the space of parameters, the problem.

Algorithms, devices and the loop know one another by these types alone.
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
    """What can be seen of a device; each level includes those below it."""

    COST = 0
    """Only the cost of a batch."""
    OUTPUTS = 1
    """The outputs for each sample."""
    SITES = 2
    """Sites where a perturbation can be added to a neuron's input; these and the layers' inputs."""
    GRADIENTS = 3
    """Exact gradients: a simulation only."""


class Status(enum.IntEnum):
    """How a measurement ended. One that is not done has no value, and none is made up for it."""

    DONE = 0
    FAILED = 1
    TIMED_OUT = 2
    ABANDONED = 3


class Clock(eqx.Module):
    """The moment of a probe: `tick` counts perturbations, `part` the measurements within a tick."""

    tick: Int[Array, ""]
    part: Int[Array, ""]


class SparseWrite(eqx.Module):
    """A write of few parameters, such as one mirror; the others stay as they are.

    Attributes: `places`, which of the P parameters, a place of P writing nothing; `values`, what
    to write there.
    """

    places: Int[Array, " K"]
    values: Float[Array, " K"]

    def into(self, parameters: Float[Array, " P"]) -> Float[Array, " P"]:
        """All parameters after the write."""
        return parameters.at[self.places].set(self.values, mode="drop")


class Probe(eqx.Module):
    """One measurement that an algorithm asks for: what to write, what to measure.

    Attributes: `clock`, its moment; `parameters`, to be programmed first, on the device's grid: all
    of them or few; `updated`, whether the unperturbed parameters have changed since the last probe;
    `changed`, whether what is programmed differs from the last probe's, so that it is written;
    `batch_index`, the number of the batch to measure; `sites`, what to add to neurons' inputs, by
    site.
    """

    clock: Clock
    parameters: Float[Array, " P"] | SparseWrite
    updated: Bool[Array, ""]
    batch_index: Int[Array, ""]
    sites: dict[str, Array] | None = None
    changed: Bool[Array, ""] | bool = True

    @property
    def theta(self) -> Float[Array, " P"]:
        """All parameters, of a probe that writes them all."""
        if isinstance(self.parameters, SparseWrite):
            raise TypeError("a sparse probe does not say what the other parameters are")
        return self.parameters

    @property
    def sparse(self) -> SparseWrite:
        """The few parameters, of a probe that writes some."""
        if not isinstance(self.parameters, SparseWrite):
            raise TypeError("this probe writes all parameters")
        return self.parameters

    @property
    def added(self) -> dict[str, Array]:
        """What is added at the sites, of a probe that perturbs neurons."""
        if self.sites is None:
            raise TypeError("this probe adds nothing at the sites")
        return self.sites


class Sites(eqx.Module):
    """What is read at the sites: `costs` per sample and, by layer, `inputs` x and z.

    `preactivations` z come with what was added to them, and are None where no reading shows them.
    """

    costs: Float[Array, " B"]
    inputs: dict[str, Array]
    preactivations: dict[str, Array] | None = None

    @property
    def z(self) -> dict[str, Array]:
        """The preactivations by layer. Errors: `TypeError` where the device does not show them."""
        if self.preactivations is None:
            raise TypeError("this device does not show what goes into its neurons")
        return self.preactivations


def wanted_outputs(
    outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]
) -> Float[Array, "B K"]:
    """Targets as outputs: class labels become one-hot rows (one output: 0 or 1), values stay."""
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return targets.reshape(outputs.shape)
    if outputs.shape[-1] == 1:
        return targets.reshape(-1, 1).astype(outputs.dtype)
    return jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)


class Outputs(eqx.Module):
    """The outputs `y` of a batch, the `targets` that they are held against, what was fed in."""

    y: Float[Array, "B K"]
    targets: Num[Array, "B ..."]
    inputs: Num[Array, "B ..."]

    @property
    def wanted(self) -> Float[Array, "B K"]:
        """The targets as outputs."""
        return wanted_outputs(self.y, self.targets)


class Measurement(eqx.Module):
    """What came back for a probe: the cost of the batch, and what the access level adds to it.

    Attributes: `cost`, mean over the batch, less a constant where its zero is not known. `outputs`,
    `sites` and `gradient` are there from the access level of the same name on; to read one below it
    is a `TypeError`.
    """

    cost: Float[Array, ""]
    _outputs: Outputs | None = None
    _sites: Sites | None = None
    _gradient: Float[Array, " P"] | None = None
    taken_off: Float[Array, ""] | tuple[()] = ()

    @property
    def whole_cost(self) -> Float[Array, ""]:
        """The cost with the constant that was taken off, of single precision."""
        return self.cost if isinstance(self.taken_off, tuple) else self.cost + self.taken_off

    @property
    def outputs(self) -> Outputs:
        """The outputs and their targets."""
        if self._outputs is None:
            raise TypeError("this measurement shows a cost and no outputs")
        return self._outputs

    @property
    def sites(self) -> Sites:
        """The costs per sample, and what is read at the layers."""
        if self._sites is None:
            raise TypeError("this measurement shows no sites")
        return self._sites

    @property
    def gradient(self) -> Float[Array, " P"]:
        """The exact gradient of the cost with respect to the parameters."""
        if self._gradient is None:
            raise TypeError("this measurement shows no gradient")
        return self._gradient


class Reference(eqx.Module):
    """The pass that probes are compared with, and what the next probe shares with it.

    Attributes: `parameters`, `batch_index`; `new`, whether it is another pass than that of the
    probe before; `first`, the number of the layer that the next probe changes, of those in `names`,
    their count for a probe that changes nothing. What a probe changes is that layer's parameters
    or what is added to its z, and nothing in the others. None for probes that add to the z of any
    layers and change no parameters.
    """

    parameters: Float[Array, " P"]
    batch_index: Int[Array, ""]
    new: Bool[Array, ""]
    first: Int[Array, ""] | None
    names: tuple[str, ...] = eqx.field(static=True)


class Known(eqx.Module):
    """What a pass shares with its reference: the `inputs` of every layer, and the outputs last;
    `first`, the layer that changes, 0 where the batch does too. Where it is None, the `inputs` are
    those of the first layer, if kept, and its z before anything is added. `rows`, the batch's
    samples, where they need not be drawn again.
    """

    inputs: tuple[Float[Array, "B ..."], ...]
    first: Int[Array, ""] | None
    rows: Int[Array, " B"] | None = None


class Batch(eqx.Module):
    """The samples of one measurement."""

    inputs: Float[Array, "B ..."]
    targets: Num[Array, "B ..."]


def keep(x: Array) -> Array:
    """What it is given."""
    return x


@dataclass(frozen=True)
class Layer:
    """A layer by itself, each step a pure function.

    `z = forward(own, x)`, `a = activation(z)`, `x = onward(a)` for the next layer, with `own` the
    layer's parameters under short names such as `weight`. What a change e of z means for them is
    the vector-Jacobian product of `forward` with e.

    A recurrent layer has z of shape (T, n) for T steps; its x holds, beside the input of each step,
    its own a of the step before. So the rule holds for it too, at fixed x, if e is what a change of
    z_t does to the cost by way of all later steps.

    Attributes: `name`; `nodes`, the shape of z for one example; `forward`; `activation`; `onward`,
    such as pooling and flattening; `features`, from x to what the weights multiply, W's leading
    axes taken as one: `z = features(x) W + b`; x itself in a dense layer, patches in a convolution;
    `groups`, the equal groups of channels, z's last axis, that it does not mix; `patchwise`,
    whether it does not mix what z's other axes count.
    """

    name: str
    nodes: tuple[int, ...]
    forward: Callable[[Parameters, Array], Array]
    activation: Callable[[Array], Array] = keep
    onward: Callable[[Array], Array] = keep
    features: Callable[[Array], Array] = keep
    groups: int = 1
    patchwise: bool = False

    def __call__(self, parameters: Parameters, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """z, for a batch of inputs, picking the layer's own of all the network's parameters."""
        return self.forward(self.own(parameters), x)

    def own(self, parameters: Parameters) -> Parameters:
        """Its parameters under their short names, of all the network's."""
        start = f"{self.name}/"
        return {k.removeprefix(start): v for k, v in parameters.items() if k.startswith(start)}


def no_cost(outputs: Float[Array, "B K"], targets: Num[Array, "B ..."]) -> Float[Array, " B"]:
    """The cost of a problem that names none. Errors: `TypeError`, always."""
    del outputs, targets
    raise TypeError("this problem names no cost of outputs and targets")


@dataclass(frozen=True)
class Problem:
    """What an algorithm is told of the run that it is bound to.

    Arguments: `space`, what can be programmed; `layers`, whose neurons can be perturbed, () if
    none; `batch`, B, the samples in a measurement; `outputs`, K, of each sample; `cost`, of each
    sample; `shows_z`, whether what goes into the neurons can be read; `least`, the lowest value
    that the cost can take, None where that is not known; `repeats_batches`, whether the device is
    fed the batches, so that one can be measured again; `network`, which a simulated device is made
    of, None of other devices.
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
