"""Guarded calls of a lab's object: time limits, slew limits, reconnection."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RunError
from dither.instruments.protocols import (
    HasSafeState,
    HoldsLease,
    MeasuresBlocks,
    Reconnectable,
    WritableAtPlaces,
    done,
)
from dither.instruments.readings import as_block, each_its_own

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""The longest wait after a failure, s."""

FEW = 1000
"""The number of parameters that are compared first."""


class Calls:
    """Calls a lab's object and tracks its present setting; the object receives copies only.

    Arguments: the object; its abilities, as in `protocols`; `timeout`, s, `backoff`, s,
    `reconnect_after`, `settle`, s, `rewrite`, as in `Guard`; `slew`, the largest change in one
    write. The present setting is not written again unless a call has failed since.
    Attributes: `writes`, the number of writes, including steps and the writes after reconnecting.
    """

    def __init__(
        self,
        target: Any,
        abilities: frozenset[type],
        *,
        timeout: float | None = None,
        backoff: float = 0.0,
        reconnect_after: int = 3,
        settle: float = 0.0,
        slew: float = math.inf,
        rewrite: bool = False,
    ) -> None:
        self.target, self.abilities = target, abilities
        self.timeout, self.backoff = timeout, backoff
        self.reconnect_after, self.settle, self.slew = reconnect_after, settle, slew
        self.rewrite, self.writes, self._sure = rewrite, 0, True
        self._held: Float[np.ndarray, " P"] | None = None
        self._rooms: list[Float[np.ndarray, "*K P"]] = []
        self._thread = None if timeout is None else _CallingThread()

    @property
    def in_blocks(self) -> bool:
        """Whether one call programs and measures several settings, and the guard permits it."""
        gentle = self.timeout is not None or self.slew < math.inf or self.settle > 0
        return MeasuresBlocks in self.abilities and not gentle

    def make(self, name: str, *arguments: Any) -> Any:
        """Call a method with copies of the arguments.

        Errors: `TimeoutError` if this call or the one before it is late; `RunError` if the call
        returns a coroutine or a generator.
        """
        function = getattr(self.target, name)
        copies = [copied(argument) for argument in arguments]
        if self._thread is None or self.timeout is None:
            return done(name, function(*copies))
        return done(name, self._thread.call(self.timeout, name, function, *copies))

    def read(self, checked: Callable[[Any], T], name: str, *arguments: Any) -> T:
        """The checked result of a call; after a failure the object's setting is unknown."""
        try:
            return checked(self.make(name, *arguments))
        except Exception:
            self._sure = False
            raise

    def program(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> None:
        """Program all parameters, or those at some places, in steps within the slew limit.

        An array of doubles that owns its memory is kept; the caller must not change it.
        """
        if places is not None and WritableAtPlaces not in self.abilities:
            values, places = self._whole(values, places), None
        if values.dtype != float or not (values.flags.owndata and values.flags.writeable):
            values = np.array(values, float)
        if self._holds(values, places):
            return
        for step in self._steps(values, places):
            self.writes += 1
            if places is None:
                self.make("write", step)
                self._held = step
            else:
                self.make("write_at", places, step)
                if self._held is not None:
                    self._held[places] = step
            self._settle()
        self._sure = True

    def room(self, shape: tuple[int, ...]) -> Float[np.ndarray, "*K P"]:
        """An array for the next settings, distinct from the one with the present setting.

        Two arrays alternate: new pages for millions of parameters take longer than a copy.
        """
        held = None if self._held is None or self._held.base is None else self._held.base
        self._rooms = [room for room in self._rooms if room.shape == shape]
        for room in self._rooms:
            if room is not held and room is not self._held:
                return room
        self._rooms.append(np.empty(shape))
        return self._rooms[-1]

    def _holds(self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None) -> bool:
        """Whether the object is known to hold the setting already."""
        if self.rewrite or not self._sure or self._held is None:
            return False
        held = self._held if places is None else self._held[places]
        # a perturbation changes the first parameters as likely as the last
        return bool((held[:FEW] == values[:FEW]).all()) and np.array_equal(held, values)

    def _steps(
        self, end: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None
    ) -> list[Float[np.ndarray, " K"]]:
        if self._held is None or self.slew == math.inf:
            return [end]
        begin = self._held if places is None else self._held[places]
        return list(ramp(begin, end, self.slew))

    def _whole(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"]
    ) -> Float[np.ndarray, " P"]:
        if self._held is None:
            raise RunError("a write of some parameters came before the first write of all")
        theta = self._held.copy()
        theta[places] = values
        return theta

    def _settle(self) -> None:
        if self.settle:
            time.sleep(self.settle)

    def measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray | None,
        due: tuple[int | None, ...],
        one: Callable[[Any], Float[np.ndarray, "..."]],
    ) -> Iterator[Any]:
        """The readings of K settings, programmed and measured in one call; the array is kept.

        `due` is the shape of all readings, None for any length; `one` checks a single reading.
        """
        differs = np.any(settings[1:] != settings[:-1], axis=1)
        changed = [not self._holds(settings[0], None), *differs.tolist(), False]
        self.writes += changed[0]
        self._sure = False  # until its end, which the caller may not reach
        returned = self.make("measure_block", settings, inputs, targets)
        together = as_block(returned, due)
        readings: Iterable[Any] = each_its_own(returned) if together is None else together
        for k, reading in enumerate(readings, start=1):
            # the setting of a failed reading has been written
            self.writes += changed[min(k, len(settings))]
            yield one(reading) if together is None else reading
        self._held, self._sure = settings[-1], True

    def recover(self, failures: int) -> None:
        """After a number of failures in a row, ≥ 1: wait, and reconnect if it is due."""
        self._sure = False
        time.sleep(min(self.backoff * 2.0 ** min(failures - 1, 60), LONGEST_WAIT))
        if failures % self.reconnect_after == 0 and Reconnectable in self.abilities:
            self._reconnect()
            if self._held is not None:
                self.make("write", self._held)
                self.writes += 1
                self._settle()

    def renew_lease(self) -> bool:
        """Renew the lease; whether the object still holds its setting."""
        if HoldsLease not in self.abilities:
            return True
        try:
            kept = bool(self.make("renew_lease"))
        except Exception:  # the next measurement fails too, and is counted there
            kept = False
        self._sure &= kept
        return kept

    def _reconnect(self) -> None:
        if self._thread is not None:
            self._thread = self._thread.left()
        self.make("reconnect")

    def safe(self) -> None:
        """Bring the object into its safe state, if it has one, even if a call hangs."""
        if HasSafeState not in self.abilities:
            return
        if self._thread is not None and self._thread.hangs(self.timeout):
            try:
                if Reconnectable in self.abilities:
                    self._reconnect()
            finally:
                self._thread = self._thread.left()
                self.make("safe")
        else:
            self.make("safe")
        self._held = None


def copied(argument: Any) -> Any:
    """A copy of an array or a table of arrays; anything else unchanged."""
    if isinstance(argument, dict):
        return {name: copied(one) for name, one in argument.items()}
    return np.array(argument) if isinstance(argument, np.ndarray) else argument


def ramp(
    begin: Float[np.ndarray, " K"], end: Float[np.ndarray, " K"], slew: float
) -> Iterator[Float[np.ndarray, " K"]]:
    """The settings from `begin` to `end`, the last one, in steps within `slew`."""
    far = np.abs(end - begin).max(initial=0.0)
    for k in range(1, math.ceil(far / slew - 1e-9)):
        yield begin + np.clip(end - begin, -k * slew, k * slew)
    yield end


class _CallingThread:
    """A thread that makes a device's calls one after another, and can be abandoned."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._last: futures.Future[Any] = futures.Future()
        self._last.set_result(None)
        self._name = ""
        # a daemon, so that a call that never returns does not keep the program from ending
        Thread(target=_make_calls, args=(self._calls,), daemon=True).start()

    def hangs(self, timeout: float | None) -> bool:
        """Whether the last call has not returned after another wait."""
        return bool(futures.wait([self._last], timeout).not_done)

    def call(self, timeout: float, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call. Errors: `TimeoutError` if it or the one before it is late."""
        if self.hangs(timeout):
            raise TimeoutError(
                f"{self._name} still hangs, and calls are never made in parallel; give the device "
                "a reconnect() that ends it"
            )
        self._last, self._name = futures.Future(), name
        self._calls.put((self._last, function, arguments))
        if self.hangs(timeout):
            raise TimeoutError(f"{name} has not returned within {timeout:g} s")
        return self._last.result()

    def left(self) -> "_CallingThread":
        """A new thread in place of this one, which ends when its call returns."""
        self._calls.put(None)
        return _CallingThread()


def _make_calls(calls: "SimpleQueue[Any]") -> None:
    while (call := calls.get()) is not None:
        future, function, arguments = call
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
