"""The check of a study's optional packages."""

from dither.instruments.connection import AbstractConnection
from dither.instruments.extras import must_have
from dither.studies.study import Study


def check_installed(study: Study, cluster: str | None = None) -> None:
    """Check that the packages for a study's search, cluster and devices are installed.

    On a cluster, only the workers need the devices' packages.
    Errors: `RequestError` with what to install.
    """
    if cluster is not None:
        must_have("cluster", "distributed")
    search = study.search
    if search is not None and not search.values and search.trials > search.at_once:
        must_have("studies", "optuna")
    devices = {} if cluster else {type(c.specification.device): c.specification.device
                                  for c in study.cells}  # fmt: skip
    for device in devices.values():
        if isinstance(device, AbstractConnection):
            device.check_installed()
