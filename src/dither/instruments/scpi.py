"""A device controlled by SCPI commands, described by a table of its channels."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from dither._errors import RequestError, RunError
from dither.instruments.connection import AbstractConnection
from dither.instruments.extent import split
from dither.instruments.extras import must_have, needs
from dither.instruments.python import PythonDevice
from dither.instruments.scpi_answers import InstrumentError, complain, no_error, numbers
from dither.instruments.scpi_commands import Channels, Readings, Values


class ScpiConnection(AbstractConnection):
    """A device controlled by SCPI commands over VISA.

    Arguments:
        resource: its VISA address, such as `TCPIP0::192.168.0.7::5025::SOCKET`.
        channels: tables of `Channels` by name; they are the parameters, in this order.
        readings: a table of `Readings`.
        identity: text that the answer to `*IDN?` must contain; not queried if empty.
        setup: commands after connecting; `safe`: commands at the end of a run, however it ends.
        errors: the query of the error queue, sent after each write and each measurement; an answer
            other than error 0 fails the measurement. Not sent if empty.
        ready: a query whose answer is awaited after each write, such as `*OPC?`.
        settle: wait after a write, s.
        timeout: time limit of an answer, s.
        initial: the initial parameters.
        backend: PyVISA's backend: `@py` for pyvisa-py; empty for the installed VISA library.
        read_termination, write_termination: the characters that end a message.
    """

    kind: Literal["scpi"] = "scpi"
    resource: str
    channels: Annotated[dict[str, Channels], Field(min_length=1)]
    readings: Readings
    identity: str = ""
    setup: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    errors: str = "SYST:ERR?"
    ready: str = ""
    settle: Annotated[float, Field(ge=0)] = 0.0
    timeout: Annotated[float, Field(gt=0)] = 2.0
    initial: tuple[float, ...] | None = None
    backend: str = "@py"
    read_termination: str = "\n"
    write_termination: str = "\n"

    def check_installed(self) -> None:
        must_have("scpi", "pyvisa", *(["pyvisa_py"] if self.backend == "@py" else []))

    def connect(self) -> PythonDevice:
        return PythonDevice(ScpiDevice(self), guard=self.guard)


class ScpiDevice:
    """An instrument that connects on first use.

    After a failure, such as a late answer, it is disconnected, so that the late answer is not
    mistaken for the next one. The next use connects again, runs the setup commands and writes the
    last parameters.

    Arguments: the `ScpiConnection`.
    Errors: `RequestError` if PyVISA is not installed or the identity does not match.
    """

    def __init__(self, connection: ScpiConnection) -> None:
        self._visa = needs("pyvisa", "scpi")
        if connection.backend == "@py":
            needs("pyvisa_py", "scpi")
        self.connection = connection
        self.__name__ = connection.identity or connection.resource
        self.parameters = {name: (group.count,) for name, group in connection.channels.items()}
        self.bounds: dict[str, tuple[float, float]] = {}
        self.levels: dict[str, int] = {}
        for name, group in connection.channels.items():
            low, high, self.levels[name] = group.grid()
            self.bounds[name] = low, high
        self.initial = connection.initial
        self._held: Float[np.ndarray, " P"] | None = None
        self._session: Any = None
        self._known = False

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Set all channels."""
        self._set(np.array(theta))

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Set some channels, together with those that can only be set jointly."""
        if self._held is None:
            raise InstrumentError("a write of some channels came before the first write of all")
        theta = self._held.copy()
        theta[places] = values
        self._set(theta, places)

    def _set(
        self, theta: Float[np.ndarray, " P"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        with self._talking():
            self._held = theta
            found = self._obey(self._commands(theta, places))
        complain(found)
        time.sleep(self.connection.settle)

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B K"]:
        """The outputs of a batch."""
        samples = np.asarray(inputs, float).reshape(len(inputs), -1)
        if self.connection.readings.whole_batch:
            rows = self._read(samples.ravel(), len(samples)).reshape(len(samples), -1)
        else:
            rows = np.stack([self._read(sample) for sample in samples])
        with self._talking():
            found = self._obey([])
        complain(found)
        return rows

    def safe(self) -> None:
        """Send the safe commands and disconnect.

        Errors: `RunError` if that fails.
        """
        if not self._known:
            return
        self._held = None
        try:
            with self._talking(restore=False):
                found = self._obey(list(self.connection.safe))
            complain(found)
        except Exception as error:
            raise RunError(
                f"the instrument {self.connection.resource} did not accept "
                f"{', '.join(self.connection.safe)} ({type(error).__name__}: {error})"
            ) from error
        finally:
            self._close()

    def reconnect(self) -> None:
        """Disconnect; the next use connects again."""
        self._close()

    @contextmanager
    def _talking(self, restore: bool = True) -> Iterator[None]:
        timed_out = self._visa.constants.StatusCode.error_timeout
        try:
            if self._session is None:
                self._open()
                if restore:
                    self._restore()
            yield
        except self._visa.errors.VisaIOError as error:
            self._close()
            if error.error_code == timed_out:
                raise TimeoutError(
                    f"the instrument did not answer within {self.connection.timeout:g} s"
                ) from error
            raise
        except BaseException:
            self._close()
            raise

    def _open(self) -> None:
        connection = self.connection
        self._session = session = self._visa.ResourceManager(connection.backend).open_resource(
            connection.resource,
            timeout=1000 * connection.timeout,
            read_termination=connection.read_termination,
            write_termination=connection.write_termination,
        )
        if connection.identity and connection.identity not in (found := session.query("*IDN?")):
            raise RequestError(
                f"The instrument at {connection.resource} is '{found}', not "
                f"'{connection.identity}'; correct "
                "the address or the identity."
            )
        self._known = True

    def _restore(self) -> None:
        held = [] if self._held is None else self._commands(self._held)
        self._exchange([*self.connection.setup, *held])

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _exchange(self, commands: list[str], query: str = "") -> str:
        """Send commands and a query, if any. Returns: its answer."""
        messages = [*commands, query] if query else commands
        if self.connection.resource.upper().endswith("SOCKET"):
            # as one packet: a second one would wait for the acknowledgement of the first
            messages = [self.connection.write_termination.join(messages)] if messages else []
        for message in messages:
            self._session.write(message)
        return str(self._session.read()) if query else ""

    def _obey(self, commands: list[str]) -> list[str]:
        """Send commands and wait until they are done. Returns: the content of the error queue."""
        ready, errors = self.connection.ready, self.connection.errors
        found: list[str] = []
        if commands and (ready or not errors):
            self._exchange(commands, ready)
            commands = []
        while errors and len(found) < MOST_ERRORS:
            answer = self._exchange(commands, errors)
            if no_error(answer, errors):
                break
            found.append(answer)
            commands = []
        return found

    def _commands(
        self, theta: Float[np.ndarray, " P"], places: Int[np.ndarray, " K"] | None = None
    ) -> list[str]:
        """The commands that set all channels, or those at some places and those set jointly."""
        each = [
            command
            for group, values in zip(
                self.connection.channels.values(), split(theta, self.parameters).values()
            )
            for command in group.commands(values)
        ]
        chosen = each if places is None else [each[place] for place in places]
        return list(dict.fromkeys(chosen))

    def _read(self, values: Float[np.ndarray, " n"], rows: int = 1) -> Float[np.ndarray, " K"]:
        readings = self.connection.readings
        given = Values(values.tolist())
        with self._talking():
            present = [readings.present.format(values=given)] if readings.present else []
            query = readings.query.format(values=given)
            return numbers(self._exchange(present, query), readings.query, rows)


MOST_ERRORS = 100
"""The maximum number of entries that are read from an error queue at once."""
