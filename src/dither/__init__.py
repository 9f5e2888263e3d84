"""dither: train neural networks that live in hardware from what can be measured at their output.

The names below are imported on first use, so that `import dither` costs nothing by itself.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from dither._errors import DitherError, RequestError, RunError

if TYPE_CHECKING:
    from dither.algorithms import (
        SPSA,
        AbstractAlgorithm,
        AnalogMGD,
        Backpropagation,
        CoordinateDescent,
        FiniteDifferences,
        LayerwiseMGD,
        NodePerturbation,
        Optimizer,
        WeightMGD,
    )
    from dither.devices import AbstractDevice, ReadoutDevice, SimulatedDevice
    from dither.instruments.python import PythonDevice
    from dither.networks import CNN, MLP, AbstractNetwork
    from dither.studies import Study, load_study, read_study, run_study
    from dither.tasks import AbstractTask, Task, make_task
    from dither.training import (
        Result,
        Specification,
        TrapWarning,
        Until,
        load_run,
        read_specification,
        train,
    )

__version__ = version("dither")

_HOMES = {
    "algorithms": (
        "SPSA",
        "AbstractAlgorithm",
        "AnalogMGD",
        "Backpropagation",
        "CoordinateDescent",
        "FiniteDifferences",
        "LayerwiseMGD",
        "NodePerturbation",
        "Optimizer",
        "WeightMGD",
    ),
    "devices": ("AbstractDevice", "ReadoutDevice", "SimulatedDevice"),
    "instruments": ("PythonDevice",),
    "studies": ("Study", "load_study", "read_study", "run_study"),
    "networks": ("CNN", "MLP", "AbstractNetwork"),
    "tasks": ("AbstractTask", "Task", "make_task"),
    "training": (
        "Result",
        "Specification",
        "TrapWarning",
        "Until",
        "load_run",
        "read_specification",
        "train",
    ),
}

__all__ = [
    "CNN",
    "MLP",
    "SPSA",
    "AbstractAlgorithm",
    "AbstractDevice",
    "AbstractNetwork",
    "AbstractTask",
    "AnalogMGD",
    "Backpropagation",
    "CoordinateDescent",
    "DitherError",
    "FiniteDifferences",
    "LayerwiseMGD",
    "NodePerturbation",
    "Optimizer",
    "PythonDevice",
    "ReadoutDevice",
    "RequestError",
    "Result",
    "RunError",
    "SimulatedDevice",
    "Specification",
    "Study",
    "Task",
    "TrapWarning",
    "Until",
    "WeightMGD",
    "load_run",
    "load_study",
    "make_task",
    "read_specification",
    "read_study",
    "run_study",
    "train",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"dither.{home}"), name)
        if name == home.partition(".")[0]:
            return import_module(f"dither.{name}")
    raise AttributeError(f"module 'dither' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOMES, "__version__"})
