"""The test battery of tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import RequestError
from dither.tasks import AbstractTask, Task
from dither.testing.settings import SettingsBattery


def loaded(subject: AbstractTask) -> Task:
    """The task; the test is skipped if its data are not on this machine."""
    try:
        return subject.load()
    except RequestError as error:
        pytest.skip(str(error))


class TaskBattery(SettingsBattery):
    """A task has the same data whenever it is loaded, and a finite cost for every sample."""

    def test_its_data_is_the_same_again(self, subject: AbstractTask) -> None:
        one, same = loaded(subject), loaded(subject)
        for part in ("inputs", "targets", "test_inputs", "test_targets"):
            assert np.array_equal(getattr(one, part), getattr(same, part))
            assert np.all(np.isfinite(getattr(one, part)))

    def test_its_batches_are_samples_of_it(self, subject: AbstractTask) -> None:
        task, key = loaded(subject), jax.random.key(0)
        rows = task.sample(key, jnp.int32(3))
        assert rows.shape == (task.batch,)
        assert 0 <= rows.min() <= rows.max() < len(task.inputs)
        assert np.array_equal(rows, task.sample(key, jnp.int32(3)))

    def test_each_sample_has_a_cost_and_all_have_a_score(self, subject: AbstractTask) -> None:
        task = loaded(subject)
        few = 50 - 50 % task.group
        inputs, targets = task.test_inputs[:few], task.test_targets[:few]
        for number in task.outputs:
            shape = (len(inputs), number)
            outputs = 0.1 * jax.random.normal(jax.random.key(1), shape)
            cost = task.cost(outputs, targets)
            assert cost.shape == (len(inputs),)
            assert np.all(np.isfinite(cost))
            assert np.ndim(task.score(outputs, targets)) == 0
            slope = jax.grad(lambda y: jnp.sum(task.cost(y, targets)))(outputs)
            assert np.all(np.isfinite(slope))
