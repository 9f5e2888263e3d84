"""A device that is spoken to in SCPI, from a table of its channels."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from string import Formatter
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, field_validator, model_validator

from dither._configuration import Configuration
from dither._errors import RequestError, RunError
from dither.instruments.connection import AbstractConnection
from dither.instruments.extent import split
from dither.instruments.extras import needs
from dither.instruments.python import PythonDevice


class InstrumentError(RunError):
    """An instrument has put an error into its queue, or answered what it should not."""


class Values(tuple[float, ...]):
    """Numbers that a command's `{values}` or `{values:.6f}` turns into text, with commas."""

    def __format__(self, how: str) -> str:
        return ",".join(format(value, how) for value in self)


def fields_of(template: str, known: tuple[str, ...]) -> dict[str, str]:
    """The fields of a command with their formats. Errors: `ValueError` for an unknown one."""
    fields = {
        name: how or "" for _, name, how, _ in Formatter().parse(template) if name is not None
    }
    for name in fields:
        if name not in known:
            offered = " or ".join(f"{{{field}}}" for field in known)
            raise ValueError(f"a command has no field {{{name}}}, but {offered}")
    return fields


class Channels(Configuration):
    """Equal channels of an instrument, each holding one parameter.

    Arguments: `write`, the command that sets one channel, with `{channel}` and `{value}`, or all of
    them at once, with `{values}`; `bounds`, the pair (low, high) outside which nothing is ever
    written; `count`, how many channels; `first`, the number of the first.

    A field may say its format, as `{value:.4f}`; without one, all digits are written.
    """

    write: str
    bounds: tuple[float, float]
    count: Annotated[int, Field(ge=1)] = 1
    first: int = 1

    @field_validator("bounds")
    @classmethod
    def _low_before_high(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not bounds[0] < bounds[1]:
            raise ValueError("give bounds as [low, high] with low < high")
        return bounds

    @model_validator(mode="after")
    def _writes_inside_the_bounds(self) -> "Channels":
        fields = fields_of(self.write, ("channel", "value", "values"))
        if ("value" in fields) == ("values" in fields):
            raise ValueError("a write command needs either {value} or {values}")
        if "value" in fields and self.count > 1 and "channel" not in fields:
            raise ValueError("a write command for several channels needs {channel}")
        how = fields.get("value", fields.get("values", ""))
        # rounding keeps order: what lies between the bounds is written between these
        for bound, inwards in zip(self.bounds, (1, -1)):
            written = float(format(bound, how))
            if inwards * (written - bound) < 0:
                raise ValueError(
                    f"the format '{how}' writes the bound {bound} as {written}, outside the "
                    "bounds; give more digits"
                )
        return self

    def commands(self, values: Float[np.ndarray, " K"]) -> list[str]:
        """The command that sets each channel; one that sets them all stands there for each."""
        if "values" in fields_of(self.write, ("channel", "value", "values")):
            return self.count * [
                self.write.format(values=Values(values.tolist()), channel=self.first)
            ]
        return [
            self.write.format(channel=channel, value=value)
            for channel, value in enumerate(values.tolist(), self.first)
        ]


class Readings(Configuration):
    """How a sample is presented and its outputs are read.

    Arguments: `query`, answered by the outputs, with commas; `present`, a command before it; one of
    them has the field `{values}`, a sample's inputs; `whole_batch`, whether they take all samples
    of a batch at once, row after row, and answer so.
    """

    query: str
    present: str = ""
    whole_batch: bool = False

    @model_validator(mode="after")
    def _values_once(self) -> "Readings":
        given = [fields_of(command, ("values",)) for command in (self.present, self.query)]
        if sum("values" in fields for fields in given) != 1:
            raise ValueError("either present or query needs the field {values}, a sample's inputs")
        return self


class ScpiConnection(AbstractConnection):
    """A device that is spoken to in SCPI by way of VISA.

    Arguments:
        resource: its VISA address, such as `TCPIP0::192.168.0.7::5025::SOCKET`.
        channels: tables of `Channels` by name: the parameters, in this order.
        readings: a table of `Readings`.
        identity: what the answer to `*IDN?` must contain; not asked if empty.
        setup: commands once connected; `safe`: commands at the end of a run, however it ends.
        errors: the query of the error queue, asked after each write and each measurement; an answer
            other than 0 fails the measurement. Not asked if empty.
        ready: a query whose answer is awaited after a write, such as `*OPC?`.
        settle: seconds to wait after a write.
        timeout: seconds to wait for an answer.
        initial: parameters to start from.
        backend: PyVISA's: `@py` for pyvisa-py; empty for the installed VISA library.
        read_termination, write_termination: what ends a message.
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

    def connect(self) -> PythonDevice:
        return PythonDevice(ScpiDevice(self), guard=self.guard)


class ScpiDevice:
    """An instrument that is connected to when it is first used.

    After a failure, such as an answer that did not come in time, it is disconnected, lest a late
    answer be taken for the next one. When it is next used, it is connected to again, set up, and
    the parameters that it held are written.

    Arguments: the `ScpiConnection`.
    Errors: `RequestError` where PyVISA is not installed, or the identity is another.
    """

    def __init__(self, connection: ScpiConnection) -> None:
        self._visa = needs("pyvisa", "scpi")
        if connection.backend == "@py":
            needs("pyvisa_py", "scpi")
        self.connection = connection
        self.__name__ = connection.identity or connection.resource
        self.parameters = {name: (group.count,) for name, group in connection.channels.items()}
        self.bounds: Mapping[str, tuple[float, float]] = {
            name: group.bounds for name, group in connection.channels.items()
        }
        self.initial = connection.initial
        self._held: Float[np.ndarray, " P"] | None = None
        self._session: Any = None
        self._known = False

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Set all channels."""
        self._set(np.array(theta))

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Set some channels; those that can only be set together are set together."""
        if self._held is None:
            raise InstrumentError("some channels were to be set before all of them")
        theta = self._held.copy()
        theta[places] = values
        self._set(theta, places)

    def _set(
        self, theta: Float[np.ndarray, " P"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        with self._talking():
            self._held = theta
            found = self._obey(self._commands(theta, places))
        _complain(found)
        time.sleep(self.connection.settle)

    def measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B K"]:
        """The outputs of a batch."""
        samples = np.asarray(inputs, float).reshape(len(inputs), -1)
        if self.connection.readings.whole_batch:
            rows = self._read(samples.ravel()).reshape(len(samples), -1)
        else:
            rows = np.stack([self._read(sample) for sample in samples])
        with self._talking():
            found = self._obey([])
        _complain(found)
        return rows

    def safe(self) -> None:
        """Send the commands that make it safe, and disconnect.

        Errors: `RunError` where that could not be done.
        """
        if not self._known:
            return
        self._held = None
        try:
            with self._talking(restore=False):
                found = self._obey(list(self.connection.safe))
            _complain(found)
        except Exception as error:
            raise RunError(
                f"the instrument {self.connection.resource} did not take "
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
                f"At {connection.resource} is '{found}' and not '{connection.identity}'; correct "
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
            # as one packet: a second would wait until the first is acknowledged
            messages = [self.connection.write_termination.join(messages)] if messages else []
        for message in messages:
            self._session.write(message)
        return str(self._session.read()) if query else ""

    def _obey(self, commands: list[str]) -> list[str]:
        """Send commands, wait until they are done. Returns: what was in the error queue."""
        ready, errors = self.connection.ready, self.connection.errors
        found: list[str] = []
        if commands and (ready or not errors):
            self._exchange(commands, ready)
            commands = []
        while errors and len(found) < MOST_ERRORS:
            answer = self._exchange(commands, errors)
            if answer.split(",")[0].strip() in ("0", "+0", "-0"):
                break
            found.append(answer)
            commands = []
        return found

    def _commands(
        self, theta: Float[np.ndarray, " P"], places: Int[np.ndarray, " K"] | None = None
    ) -> list[str]:
        """What sets all channels, or those at some places and what is set with them."""
        each = [
            command
            for group, values in zip(
                self.connection.channels.values(), split(theta, self.parameters).values()
            )
            for command in group.commands(values)
        ]
        chosen = each if places is None else [each[place] for place in places]
        return list(dict.fromkeys(chosen))

    def _read(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " K"]:
        readings = self.connection.readings
        given = Values(values.tolist())
        with self._talking():
            present = [readings.present.format(values=given)] if readings.present else []
            answer = self._exchange(present, readings.query.format(values=given))
        try:
            numbers = np.array([float(number) for number in answer.split(",")])
            return np.where(np.abs(numbers) < NO_NUMBER, numbers, np.nan)
        except ValueError:
            raise InstrumentError(
                f"the answer to '{readings.query}' is '{answer[:80]}', and numbers are due"
            ) from None


NO_NUMBER = 9.9e37
"""By SCPI's rule infinity is 9.9e37 and what is not a number 9.91e37."""

MOST_ERRORS = 100
"""No more entries of an error queue are read at once."""


def _complain(found: list[str]) -> None:
    """Errors: `InstrumentError` with what was in the error queue, if anything."""
    if found:
        raise InstrumentError("; ".join(found))
