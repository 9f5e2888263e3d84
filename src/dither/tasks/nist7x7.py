"""NIST7x7: four letters on 7×7 pixels, with flipped pixels."""

from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from dither.tasks.task import AbstractSampledTask, BatchSize, Task

LETTERS = {
    "N": ("#.....#", "##....#", "#.#...#", "#..#..#", "#...#.#", "#....##", "#.....#"),
    "I": ("#######", "...#...", "...#...", "...#...", "...#...", "...#...", "#######"),
    "S": (".######", "#......", "#......", ".#####.", "......#", "......#", "######."),
    "T": ("#######", "...#...", "...#...", "...#...", "...#...", "...#...", "...#..."),
}
"""Our own drawing of the four letters; the paper does not publish the exact pixels."""


class NIST7x7(AbstractSampledTask):
    """The letters N, I, S, T on 7×7 pixels, with some pixels flipped.

    Training set: every image with 0, 1 or 2 pixels flipped, 4 (1 + 49 + 49·48/2) = 4 904 of them.
    Test set: `tests` images drawn with 3 flipped pixels, none of which is a training image.

    Arguments: `tests`, the size of the test set; `seed` of its draw; `batch`, 1 by default.
    Source: McCaughan2023 (letters and number of flips; the pixels of the letters are our own).
    """

    kind: Literal["nist7x7"] = "nist7x7"
    batch: BatchSize = 1
    tests: Annotated[int, Field(ge=1, le=10**7)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Task:
        letters = np.array([[[p == "#" for p in row] for row in rows] for rows in LETTERS.values()])
        letters = letters.reshape(len(LETTERS), -1).astype(float)
        flips = _up_to_two_flips(letters.shape[1])
        inputs = np.abs(letters[:, None, :] - flips[None]).reshape(-1, letters.shape[1])
        targets = np.repeat(np.arange(len(LETTERS)), len(flips))
        rng = np.random.default_rng(self.seed)
        labels = rng.integers(len(LETTERS), size=self.tests)
        test_inputs = letters[labels]
        for image in test_inputs:
            flipped = rng.choice(image.size, size=3, replace=False)
            image[flipped] = 1 - image[flipped]
        arrays = inputs, targets, test_inputs, labels
        return self.task_of(*arrays, classes=tuple(LETTERS), image=(7, 7))


def _up_to_two_flips(pixels: int) -> Float[np.ndarray, "F pixels"]:
    chosen: list[Int[np.ndarray, " k"]] = [np.array([], int)]
    chosen += [np.array(c, int) for k in (1, 2) for c in combinations(range(pixels), k)]
    flips = np.zeros((len(chosen), pixels))
    for row, pixel in zip(flips, chosen):
        row[pixel] = 1
    return flips
