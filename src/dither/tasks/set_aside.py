"""A test set drawn from the samples."""

import numpy as np
from jaxtyping import Int, Num

from dither._errors import RequestError


def set_aside(
    targets: Num[np.ndarray, "N ..."], share: float, seed: int
) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " M"]]:
    """Split samples into training and test sets: a pure function of seed and targets.

    For integer targets (class labels) the split is stratified: each class with two or more samples
    contributes at least one. For other targets all samples count as one class.

    Arguments: the targets; the `share` to test with, in (0, 1); `seed` of the draw.
    Returns: the indices of the training and of the test samples, each in random order.
    Errors: `RequestError` if no class has two samples.
    """
    if not 0 < share < 1:
        raise RequestError(f"test_share is {share:g}; give a share between 0 and 1.")
    order = np.random.default_rng(seed).permutation(len(targets))
    labelled = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
    classes = targets[order] if labelled else np.zeros(len(order))
    drawn = np.zeros(len(order), bool)
    for one in np.unique(classes):
        places = np.flatnonzero(classes == one)
        if len(places) > 1:
            drawn[places[: min(max(1, round(share * len(places))), len(places) - 1)]] = True
    if not drawn.any():
        why = "no class has two" if labelled else "there is only one"
        raise RequestError(
            f"There are no samples to set aside for testing, because {why}; give test samples."
        )
    return order[~drawn], order[drawn]
