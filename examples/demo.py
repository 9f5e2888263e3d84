"""The main use of dither: learn clothing images on a noisy 8-bit chip from measured costs alone.

`make demo` runs this script. It trains on the 8×8 digits if Fashion-MNIST is not available.
"""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np

import dither
from dither.cli.train import use_all_cores
from dither.devices import SimulatedDevice
from dither.tasks import AbstractTask, FashionMNIST
from dither.training.drawing import BLUE, ORANGE, picture, save_figure
from dither.training.figure import draw_curves
from dither.training.folder import free_folder
from dither.training.progress import ProgressBar


def preset_with_data() -> str:
    """`fashion-mnist` if its files are available, else `digits`."""
    try:
        FashionMNIST().load()
        return "fashion-mnist"
    except dither.RequestError as error:
        reason = error
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root and shutil.which("apt-get"):
        print("demo: installing Debian's package dataset-fashion-mnist", file=sys.stderr)
        for command in (["update"], ["install", "-y", "dataset-fashion-mnist"]):
            subprocess.run(
                ["apt-get", "-q", *command], stdin=subprocess.DEVNULL, capture_output=True
            )
        try:
            FashionMNIST(offline=True).load()
            return "fashion-mnist"
        except dither.RequestError as error:
            reason = error
    print(f"demo: {reason} Training on the 8×8 digits instead.", file=sys.stderr)
    return "digits"


def guesses(specification: dither.Specification, result: dither.Result, images: np.ndarray) -> list:
    """The classes that the trained network assigns to images."""
    device, task = specification.device, specification.task
    assert isinstance(device, SimulatedDevice)
    assert isinstance(task, AbstractTask)
    outputs = device.network(device.space.unravel(result.parameters[0]), images)
    return np.argmax(outputs, axis=1).tolist()


def main() -> None:
    """Train, then draw the training curves and the classification of twelve test images."""
    use_all_cores()
    specification = dither.read_specification(preset_with_data())
    out = free_folder("demo")
    print(f"demo: {specification.about}; no gradient is computed anywhere", file=sys.stderr)
    with warnings.catch_warnings(), ProgressBar(specification.name) as observe:
        result = specification.train(out, observers=[observe])
    task = specification.task.load()
    shown = slice(0, 12)
    images = task.test_inputs[shown]
    names = [task.classes[k] for k in guesses(specification, result, images)]
    truths = [task.classes[int(k)] for k in task.test_targets[shown]]
    pictures = np.asarray(images).reshape(-1, *(task.image or (8, 8)))
    with picture(8.0, 4.3) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=(3.2, 1.0))
        draw_curves(top, result, specification.name, specification.until.score)
        for axes, image, guess, truth in zip(bottom.subplots(1, 12), pictures, names, truths):
            axes.imshow(image, cmap="gray_r")
            axes.set_axis_off()
            right = guess == truth
            text = guess if right else f"{guess}\n(not {truth})"
            axes.set_title(text, fontsize=7, color=BLUE if right else ORANGE)
    save_figure(figure, out / "demo")
    print(
        f"test {result.score_name} {result.score:.3f} after "
        f"{result.ledger['measurements']} measurements of the noisy chip\n"
        f"picture: {out / 'demo.png'}"
    )


if __name__ == "__main__":
    main()
