"""A task: which of two rings is a point on?"""

from typing import Annotated

import numpy as np
from pydantic import Field

from dither.tasks import AbstractSampledTask, make_task


class TwoRings(AbstractSampledTask):
    """Points of the plane on rings of radius 1/2 and 1, with noise; the class is the ring.

    Arguments: `points` of each of training and test; `noise`, the standard deviation of a point
    from its ring; `seed`; `batch` and `cost` as for the other tasks.
    """

    points: Annotated[int, Field(ge=4)] = 200
    noise: Annotated[float, Field(ge=0)] = 0.05
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self):
        rng = np.random.default_rng(self.seed)
        ring = np.arange(2 * self.points) % 2
        angle = rng.uniform(0, 2 * np.pi, ring.size)
        x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + ring[:, None]) / 2
        x += self.noise * rng.standard_normal(x.shape)
        train, test = slice(0, self.points), slice(self.points, None)
        return make_task(
            x[train], ring[train], x[test], ring[test], batch=self.batch, cost=self.cost
        )
