"""What a lab's object can do: a protocol for each ability, and which of them an object has."""

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
    """It programs the parameters at some places, and leaves the others."""

    def write_at(
        self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"], /
    ) -> Any: ...


class MeasuresOutputs(Protocol):
    """It returns the outputs of a batch, one row a sample."""

    def measure(self, inputs: Inputs, /) -> Any: ...


class MeasuresCost(Protocol):
    """It returns the mean cost of a batch, one number."""

    def cost(self, inputs: Inputs, targets: np.ndarray, /) -> Any: ...


class MeasuresBlocks(Protocol):
    """It programs and measures K settings, each with its batch, in one call: K readings."""

    def measure_block(
        self, settings: Float[np.ndarray, "K P"], inputs: np.ndarray, targets: np.ndarray, /
    ) -> Iterable[Any]: ...


class MeasuresSites(Protocol):
    """It adds something at the neurons of its layers: the outputs, and each layer's inputs."""

    layers: Iterable[str]

    def measure_sites(
        self, inputs: Inputs, added: dict[str, Float[np.ndarray, "..."]], /
    ) -> tuple[Any, Mapping[str, Any]]: ...


class HasSafeState(Protocol):
    """It is brought into a safe state."""

    def safe(self) -> Any: ...


class HoldsLease(Protocol):
    """It is held by a lease that lapses in silence; False where it has, and nothing is held."""

    def renew_lease(self) -> bool: ...


class Reconnectable(Protocol):
    """It closes its connection, so that a call that hangs ends, and opens it anew."""

    def reconnect(self) -> Any: ...


class Flippable(Protocol):
    """A bench of `parameters` mirrors: it turns mirror i over."""

    parameters: int

    def flip(self, i: int, /) -> Any: ...


ABILITIES = (
    Writable, WritableAtPlaces, MeasuresOutputs, MeasuresCost, MeasuresBlocks, MeasuresSites,
    HasSafeState, HoldsLease, Reconnectable,
)  # fmt: skip


def abilities_of(target: Any) -> frozenset[type]:
    """The protocols that an object follows, Flippable apart: a record to be made once."""
    return frozenset(ability for ability in ABILITIES if follows(target, ability))


def follows(target: Any, protocol: type) -> bool:
    """Whether an object has the method of a protocol."""
    return callable(attribute_of(target, method_of(protocol)))


def method_of(protocol: type) -> str:
    """The name of the method of a protocol."""
    (name,) = (name for name in vars(protocol) if not name.startswith("_"))
    return name


def attribute_of(target: Any, name: str, default: Any = None) -> Any:
    """An attribute of an object, the default where it has none.

    A mock, or a proxy of remote calls, that answers to every name has only what it or its class
    declares.
    """
    if answers_to_all(target) and inspect.getattr_static(target, name, None) is None:
        return default
    return getattr(target, name, default)


def answers_to_all(target: Any) -> bool:
    """Whether an object answers to every name, so that an answer says nothing."""
    return hasattr(target, "an_attribute_that_no_object_has")


PREPARED = "it is only prepared when it is called, and never done; make it a plain function that "


def check_plain(target: Any, names: Iterable[str], device: str) -> None:
    """Check that methods do what they are for when they are called. Errors: `RequestError`."""
    for name in names:
        method = attribute_of(target, name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise RequestError(
                f"The device {device} has an `async def {name}`: {PREPARED}waits until it is done, "
                "as asyncio.run does."
            )
        if name != "measure_block" and inspect.isgeneratorfunction(method):
            raise RequestError(
                f"The device {device} has a {name} with `yield`: {PREPARED}runs it to its end."
            )


def done(name: str, returned: Any) -> Any:
    """What a method has returned. Errors: `RunError` where that has still to be awaited or run."""
    if returned is None or type(returned) is np.ndarray:  # nearly always
        return returned
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise RunError(f"{name} returned what is to be awaited: {PREPARED}waits until it is done")
    if name != "measure_block" and inspect.isgenerator(returned):
        raise RunError(f"{name} returned a generator: {PREPARED}runs it to its end")
    return returned
