"""A device served by `dither device serve`, in a specification."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dither._places import absolute
from dither.instruments.connection import AbstractConnection, LabDevice
from dither.instruments.extras import must_have
from dither.instruments.python import PythonDevice

SCHEME = "remote://"


class RemoteDevice(AbstractConnection):
    """A device on the network; `remote://HOST:PORT` selects one with default settings.

    Arguments: `address`, HOST:PORT; `token_file`, the file of the shared secret, by default the
    environment variable DITHER_TOKEN; `ca`, the authority of the server's certificate, by default
    the system's; `certificate` and `key`, the client's, if the server requires them; `patience`,
    the time to wait for a server that does not answer or for another trainer's lease, s.
    """

    kind: Literal["remote"] = "remote"
    address: str
    token_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    patience: Annotated[float, Field(ge=0)] = 30.0

    def check_installed(self) -> None:
        must_have("remote", "msgpack")

    def connect(self) -> PythonDevice:
        """The connected device. Errors: those of `dither.remote.client.RemoteObject`."""
        self.check_installed()
        from dither.remote.client import RemoteObject

        target = RemoteObject(**self.model_dump(exclude={"kind", "guard"}))
        return PythonDevice(target, guard=self.guard)


def by_address(value: Any) -> Any:
    """The table of kind `remote` for the shorthand `remote://HOST:PORT`."""
    if isinstance(value, str):
        value = {"kind": value} if value.startswith(SCHEME) else value
    if isinstance(value, dict) and str(value.get("kind", "")).startswith(SCHEME):
        value = {**value, "kind": "remote", "address": value["kind"].removeprefix(SCHEME)}
    return value


def device_at(place: str) -> LabDevice | RemoteDevice:
    """The device at `remote://HOST:PORT`, `FILE.py:NAME` or `MODULE:NAME`."""
    if place.startswith(SCHEME):
        return RemoteDevice(address=place.removeprefix(SCHEME))
    return LabDevice(object=absolute(place))
