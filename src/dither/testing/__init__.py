"""Test batteries that every class of a registry must pass, also classes from outside dither."""

from typing import Any

import pytest

# before the batteries are imported, so that pytest rewrites their asserts
for name in ("algorithm", "code", "device", "imperfection", "network", "settings", "task"):
    pytest.register_assert_rewrite(f"dither.testing.{name}")

from dither._configuration import Configuration  # noqa: E402
from dither.algorithms import AbstractAlgorithm  # noqa: E402
from dither.codes import AbstractCode  # noqa: E402
from dither.devices import AbstractDevice, AbstractImperfection  # noqa: E402
from dither.networks import AbstractNetwork  # noqa: E402
from dither.tasks import AbstractTask  # noqa: E402
from dither.testing.algorithm import AlgorithmBattery  # noqa: E402
from dither.testing.code import CodeBattery  # noqa: E402
from dither.testing.device import DeviceBattery  # noqa: E402
from dither.testing.imperfection import ImperfectionBattery  # noqa: E402
from dither.testing.network import NetworkBattery  # noqa: E402
from dither.testing.settings import SettingsBattery  # noqa: E402
from dither.testing.task import TaskBattery  # noqa: E402

__all__ = ["battery"]

BATTERIES: dict[type[Configuration], type[SettingsBattery]] = {
    AbstractAlgorithm: AlgorithmBattery,
    AbstractCode: CodeBattery,
    AbstractDevice: DeviceBattery,
    AbstractImperfection: ImperfectionBattery,
    AbstractNetwork: NetworkBattery,
    AbstractTask: TaskBattery,
    Configuration: SettingsBattery,
}


def battery(*subjects: type[Configuration] | Configuration) -> type[SettingsBattery]:
    """The tests for classes of a registry, as a class that pytest collects.

    ```python
    from dither.testing import battery
    from my_rule import MyRule

    TestMyRule = battery(MyRule)
    ```

    Arguments: classes of one family, each tested with its `example()`; or instances.
    """
    tried = [one.example() if isinstance(one, type) else one for one in subjects]
    tests = next(tests for family, tests in BATTERIES.items() if isinstance(tried[0], family))
    names = [getattr(one, "kind", type(one).__name__) for one in tried]
    over: Any = pytest.mark.parametrize("subject", tried, ids=names)
    battery: type[SettingsBattery] = over(type(tests.__name__, (tests,), {}))
    return battery
