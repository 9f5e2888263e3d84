"""Tasks for several devices: one batch per device, with shared or divided data."""

from dataclasses import fields
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Num
from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.tasks.task import Task, drawn


class Shards(Configuration):
    """The division of the training samples among devices, each sample to one device.

    Arguments: `split`: `equal`, at random with equal sizes, or `dirichlet`, with class shares
    `p ~ Dir(concentration, …)`, so that devices have different classes; `concentration` > 0, small
    for very different shares; `seed` of the split, ≥ 0.
    Source: Hsu2019 (Dirichlet shards); recalled, not verified.
    """

    split: Literal["equal", "dirichlet"] = "equal"
    concentration: Annotated[float, Field(gt=0)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0

    def deal(self, task: Task, devices: int) -> list[Int[np.ndarray, " _"]]:
        """The samples of each device. Errors: `RequestError` if there are too few."""
        samples, rng = len(task.inputs), np.random.default_rng(self.seed)
        if samples < devices:
            raise RequestError(
                f"The {samples} training samples cannot be divided among {devices} devices; give "
                "more samples or share them."
            )
        if self.split == "equal":
            each = samples // devices
            return list(rng.permutation(samples)[: each * devices].reshape(devices, each))
        if not np.issubdtype(task.targets.dtype, np.integer):
            raise RequestError(
                "Dirichlet shards need classes, but the task's targets are values; set the shards' "
                "split to equal."
            )
        hands: list[list[int]] = [[] for _ in range(devices)]
        for label in np.unique(np.asarray(task.targets)):
            mine = rng.permutation(np.flatnonzero(np.asarray(task.targets) == label))
            shares = rng.dirichlet(np.full(devices, self.concentration))
            ends = np.round(np.cumsum(shares)[:-1] * len(mine)).astype(int)
            for hand, part in zip(hands, np.split(mine, ends)):
                hand.extend(part.tolist())
        for hand in hands:
            if not hand:
                hand.append(max(hands, key=len).pop())
        return [np.sort(hand) for hand in hands]


class DealtTask(Task):
    """A task whose batches hold one batch for each of N devices, interleaved by sample.

    Row `s N + n` of a batch, and of the outputs for the test inputs, belongs to device n. With
    `shards` and their `sizes`, device n draws from its own samples; else all devices receive the
    same.
    """

    devices: int = eqx.field(static=True, default=1)
    shards: Int[Array, "devices S"] | None = None
    sizes: Int[Array, " devices"] | None = None

    def sample(
        self, key: Key[Array, ""], draw: Int[Array, ""], sampling: Any = ()
    ) -> Int[Array, " B"]:
        del sampling
        each = self.batch // self.devices
        if self.shards is None or self.sizes is None:
            return jnp.repeat(drawn(key, draw, each, self.inputs.shape[0]), self.devices)
        if each >= self.shards.shape[1]:
            return self.shards.T.reshape(-1)
        keys = jax.random.split(jax.random.fold_in(key, draw), self.devices)
        places = jax.vmap(lambda k, size: jax.random.randint(k, (each,), 0, size))(keys, self.sizes)
        return jnp.take_along_axis(self.shards, places, axis=1).T.reshape(-1)

    @property
    def first_rows(self) -> Int[np.ndarray, " B"]:
        return np.repeat(np.arange(self.batch // self.devices), self.devices)

    @property
    def wanted_tests(self) -> Num[Array, "_ ..."]:
        return jnp.repeat(self.test_targets, self.devices, axis=0)


def dealt(task: Task, devices: int, shards: Shards | None = None) -> DealtTask:
    """A task for several devices that are measured at the same time.

    Each device has as many samples per batch as the original task, with shards at most the mean
    size of a shard. Errors: those of `Shards.deal`; `RequestError` for a task with grouped samples
    or an adaptive sampler.
    """
    if task.group > 1 or task.sampler.learns:
        raise RequestError(
            "A fleet needs single samples drawn uniformly; train a differential equation, "
            "or use an adaptive sampler, on a single device."
        )
    each, hands, sizes = task.batch, None, None
    if shards is not None:
        each = min(each, len(task.inputs) // devices)
        dealt_out = shards.deal(task, devices)
        sizes = jnp.asarray([len(hand) for hand in dealt_out])
        hands = jnp.asarray(np.stack([np.resize(hand, int(sizes.max())) for hand in dealt_out]))
    own = {field.name: getattr(task, field.name) for field in fields(task)}
    own["batch"] = each * devices
    return DealtTask(**own, devices=devices, shards=hands, sizes=sizes)
