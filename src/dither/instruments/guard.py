"""A real device under guard: time-outs, waits, reconnecting, gentle writes."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from queue import SimpleQueue
from threading import Thread
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.contract import Space
from dither.instruments.mirrors import Mirrors

LONGEST_WAIT = 60.0
"""Seconds: no wait after a failure is longer."""


class Guard(Configuration):
    """How a device's calls are guarded.

    Arguments:
        timeout: seconds that a call may take, > 0; without it a call that hangs hangs the run. A
            call that is late is a failed measurement, and no other is made until it returns or the
            device has been reconnected: the instrument never hears two at once.
        backoff: seconds to wait after a failure, ≥ 0; doubled at each further one in a row, up to
            a minute.
        reconnect_after: failures in a row after which, and after as many more, `reconnect()` is
            called, where the device has it; then what it held is written again, in one write.
        settle: seconds to wait after each write, ≥ 0.
        slew: largest change of a parameter in one write, > 0, in its units; a larger one is written
            in steps, each of which counts as a write. Not for the first write of all, before which
            it is not known where the device stands.
        drift: the parameters at the start are measured again, five times, with each evaluation, and
            an alarm is given where their cost has moved by more than so many standard errors, > 0,
            such as 5; not watched if not given.
    """

    timeout: Annotated[float, Field(gt=0)] | None = None
    backoff: Annotated[float, Field(ge=0)] = 0.0
    reconnect_after: Annotated[int, Field(ge=1)] = 3
    settle: Annotated[float, Field(ge=0)] = 0.0
    slew: Annotated[float, Field(gt=0)] | None = None
    drift: Annotated[float, Field(gt=0)] | None = None

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, ≥ 1."""
        return min(self.backoff * 2.0 ** min(failures - 1, 60), LONGEST_WAIT)

    def leaves_blocks(self) -> bool:
        """Whether several settings may be written and measured in one call."""
        return self.timeout is None and self.slew is None and self.settle == 0

    def largest_change(self, space: Space) -> float:
        """The slew limit in whole DAC steps. Errors: `RequestError` where it is under one step."""
        if self.slew is None:
            return math.inf
        step = float(np.max(space.step))
        if step == 0:
            return self.slew
        steps = math.floor(self.slew / step + 1e-6)
        if steps == 0:
            raise RequestError(
                f"guard.slew = {self.slew:g} is under one DAC step of {step:.3g}, so that nothing "
                "can be written; set it to one step or more."
            )
        return steps * step


def ramp(
    begin: Float[np.ndarray, " K"], end: Float[np.ndarray, " K"], slew: float
) -> Iterator[Float[np.ndarray, " K"]]:
    """The settings on the way from `begin` to `end`, which comes last; each within `slew`."""
    far = np.abs(end - begin).max(initial=0.0)
    for k in range(1, math.ceil(far / slew - 1e-9)):
        yield begin + np.clip(end - begin, -k * slew, k * slew)
    yield end


SAYS_OF_ITSELF = (
    "parameters", "bounds", "bits", "levels", "initial", "fed", "layers", "task",
)  # fmt: skip
"""What an object has beside its methods."""


class Guarded:
    """A lab's object that is called under a guard: the same handle.

    Arguments: the object, as `PythonDevice` takes it; its guard.
    `slew` is the largest change in one write; `extra_writes` counts those beyond what was asked.
    """

    def __init__(self, target: Any, guard: Guard) -> None:
        if hasattr(target, "flip"):
            target = Mirrors(target)
        self.target, self.guard, self.slew = target, guard, math.inf
        self.__name__ = getattr(target, "__name__", type(target).__name__)
        self.extra_writes = 0
        self._at: Float[np.ndarray, " P"] | None = None
        self._thread = _CallingThread() if guard.timeout is not None else None
        for name in SAYS_OF_ITSELF:
            if hasattr(target, name):
                setattr(self, name, getattr(target, name))
        if hasattr(target, "write"):
            self._program, self.write = target.write, self._write
            if hasattr(target, "write_at"):
                self.write_at = self._write_at
            if hasattr(target, "measure"):
                self.measure = self._measure
            if hasattr(target, "measure_sites"):
                self.measure_sites = self._measure_sites
            if hasattr(target, "cost"):
                self.cost = self._cost
            if hasattr(target, "measure_block") and guard.leaves_blocks():
                self.measure_block = target.measure_block
        elif callable(target):
            self._program, self.write, self.measure = _nothing, self._write, self._evaluate

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._thread is None or self.guard.timeout is None:
            return function(*arguments)
        return self._thread.call(self.guard.timeout, name, function, *arguments)

    def _measure(self, inputs: np.ndarray) -> Any:
        return self._call("measure", self.target.measure, inputs)

    def _measure_sites(self, inputs: np.ndarray, added: dict[str, np.ndarray]) -> Any:
        return self._call("measure_sites", self.target.measure_sites, inputs, added)

    def _cost(self, inputs: np.ndarray, targets: np.ndarray) -> Any:
        return self._call("cost", self.target.cost, inputs, targets)

    def _evaluate(self, inputs: np.ndarray) -> Any:
        return self._call("the function", self.target, self._at, inputs)

    def _write(self, theta: Float[np.ndarray, " P"]) -> None:
        end = np.array(theta)
        settings = list(ramp(end if self._at is None else self._at, end, self.slew))
        for setting in settings:
            self._call("write", self._program, setting.copy())
            self._at = setting
            time.sleep(self.guard.settle)
        self.extra_writes += len(settings) - 1

    def _write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        begin = values if self._at is None else self._at[places]
        settings = list(ramp(begin, np.array(values), self.slew))
        for setting in settings:
            self._call("write_at", self.target.write_at, places, setting.copy())
            if self._at is not None:
                self._at[places] = setting
            time.sleep(self.guard.settle)
        self.extra_writes += len(settings) - 1

    def recover(self, failures: int) -> None:
        """After so many failures in a row: wait, and reconnect where it is time to."""
        time.sleep(self.guard.wait(failures))
        if failures % self.guard.reconnect_after == 0 and hasattr(self.target, "reconnect"):
            self._reconnect()
            if self._at is not None:
                self._call("write", self._program, self._at.copy())
                self.extra_writes += 1
                time.sleep(self.guard.settle)

    def _reconnect(self) -> None:
        if self._thread is not None:
            self._thread = self._thread.left()
        self._call("reconnect", self.target.reconnect)

    def safe(self) -> None:
        """The object's safe state, also past a call that hangs."""
        if not hasattr(self.target, "safe"):
            return
        if self._thread is not None and self._thread.hangs(self.guard.timeout):
            try:
                if hasattr(self.target, "reconnect"):
                    self._reconnect()
            finally:
                self._thread = self._thread.left()
                self._call("safe", self.target.safe)
        else:
            self._call("safe", self.target.safe)
        self._at = None


def _nothing(theta: Float[np.ndarray, " P"]) -> None:
    """A function is told its parameters when it is measured."""


class _CallingThread:
    """One thread that makes a device's calls one after another, and can be left behind."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._last: futures.Future[Any] = futures.Future()
        self._last.set_result(None)
        self._name = ""
        # a daemon, so that a call that never returns does not keep the program from ending
        Thread(target=_make_calls, args=(self._calls,), daemon=True).start()

    def hangs(self, timeout: float | None) -> bool:
        """Whether the last call has not returned, waited for once more."""
        return bool(futures.wait([self._last], timeout).not_done)

    def call(self, timeout: float, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call. Errors: `TimeoutError` where it, or the one before it, is late."""
        if self.hangs(timeout):
            raise TimeoutError(
                f"{self._name} still hangs, and no second call is made beside it; give the device "
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
