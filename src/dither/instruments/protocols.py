"""Protocols for the abilities of a lab's object, and which of them an object has."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError, RunError

Theta: TypeAlias = Float[np.ndarray, " P"]
Inputs: TypeAlias = Float[np.ndarray, "B ..."]


class Writable(Protocol):
    """It programs all its parameters."""

    def write(self, theta: Theta, /) -> Any: ...


class WritableAtPlaces(Protocol):
    """It programs the parameters at some places and leaves the others unchanged."""

    def write_at(
        self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"], /
    ) -> Any: ...


class MeasuresOutputs(Protocol):
    """It returns the outputs of a batch, one row per sample."""

    def measure(self, inputs: Inputs, /) -> Any: ...


class MeasuresCost(Protocol):
    """It returns the mean cost of a batch as one number."""

    def cost(self, inputs: Inputs, targets: np.ndarray, /) -> Any: ...


class MeasuresBlocks(Protocol):
    """It programs and measures K settings, each with its batch, in one call."""

    def measure_block(
        self, settings: Float[np.ndarray, "K P"], inputs: np.ndarray, targets: np.ndarray, /
    ) -> Iterable[Any]: ...


class MeasuresSites(Protocol):
    """It perturbs the neurons of its layers, and returns the outputs and each layer's inputs."""

    layers: Iterable[str] | Mapping[str, tuple[int, ...]]

    def measure_sites(
        self, inputs: Inputs, added: dict[str, Float[np.ndarray, "..."]], /
    ) -> tuple[Any, Mapping[str, Any]]: ...


class HasSafeState(Protocol):
    """It has a safe state."""

    def safe(self) -> Any: ...


class HoldsLease(Protocol):
    """It is held by a lease that expires without renewal; False if it has expired."""

    def renew_lease(self) -> bool: ...


class Reconnectable(Protocol):
    """It closes its connection, which ends a hanging call, and opens a new one."""

    def reconnect(self) -> Any: ...


class Flippable(Protocol):
    """A bench of `parameters` mirrors that flips mirror i."""

    parameters: int

    def flip(self, i: int, /) -> Any: ...


ABILITIES = (
    Writable, WritableAtPlaces, MeasuresOutputs, MeasuresCost, MeasuresBlocks, MeasuresSites,
    HasSafeState, HoldsLease, Reconnectable,
)  # fmt: skip


def abilities_of(target: Any) -> frozenset[type]:
    """The protocols that an object follows, other than Flippable; determined once."""
    return frozenset(ability for ability in ABILITIES if follows(target, ability))


def follows(target: Any, protocol: type) -> bool:
    """Whether an object has the method of a protocol."""
    return callable(attribute_of(target, method_of(protocol)))


def method_of(protocol: type) -> str:
    """The name of the method of a protocol."""
    (name,) = (name for name in vars(protocol) if not name.startswith("_"))
    return name


def attribute_of(target: Any, name: str, default: Any = None) -> Any:
    """An attribute of an object, or the default.

    An object that answers to every name, such as a mock or a proxy, counts as having only what it
    or its class declares.
    """
    if answers_to_all(target) and inspect.getattr_static(target, name, None) is None:
        return default
    return getattr(target, name, default)


def answers_to_all(target: Any) -> bool:
    """Whether an object answers to every name, so that having an attribute means nothing."""
    return hasattr(target, "an_attribute_that_no_object_has")


PREPARED = "calling it only prepares the work and never does it; make it a plain function that "


def check_plain(target: Any, names: Iterable[str], device: str) -> None:
    """Check that methods are neither coroutines nor generators. Errors: `RequestError`."""
    for name in names:
        method = attribute_of(target, name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise RequestError(
                f"The device {device} has an `async def {name}`: {PREPARED}waits until it is done, "
                "as asyncio.run does."
            )
        if name != "measure_block" and inspect.isgeneratorfunction(method):
            raise RequestError(
                f"The device {device} has a generator `{name}`: {PREPARED}runs it to its end."
            )


def done(name: str, returned: Any) -> Any:
    """The result of a method. Errors: `RunError` if it is a coroutine or a generator."""
    if returned is None or type(returned) is np.ndarray:  # the usual case
        return returned
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise RunError(f"{name} returned an awaitable: {PREPARED}waits until it is done")
    if name != "measure_block" and inspect.isgenerator(returned):
        raise RunError(f"{name} returned a generator: {PREPARED}runs it to its end")
    return returned
