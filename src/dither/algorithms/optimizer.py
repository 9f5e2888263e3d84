"""Any Optax optimiser, by name."""

import inspect
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from pydantic import BeforeValidator, PlainSerializer, model_validator

from dither._configuration import Configuration
from dither._errors import nearest
from dither._raised import told

Setting: TypeAlias = float | int | bool | str


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


Settings: TypeAlias = Annotated[
    tuple[tuple[str, Setting], ...], BeforeValidator(_pairs), PlainSerializer(dict)
]
"""A table of settings, kept as pairs so that a configuration can be hashed."""


class Schedule(Configuration):
    """A factor on the learning rate as a function of the update, from `optax.schedules`.

    Arguments: `name`, such as `cosine_decay_schedule`; `settings`, its arguments by name, other
    than the initial value, which is 1.
    """

    name: str
    settings: Settings = ()

    @model_validator(mode="after")
    def _exists(self) -> "Schedule":
        known = [n for n in dir(optax.schedules) if n.endswith("schedule") or n.endswith("decay")]
        if self.name not in known:
            raise ValueError(f"Optax has no schedule '{self.name}'; {nearest(self.name, known)}")
        try:
            self.build()
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Optax's {self.name} does not accept these settings: {error}"
            ) from None
        return self

    def build(self) -> Any:
        """The schedule, a function of the number of updates."""
        return getattr(optax.schedules, self.name)(1.0, **dict(self.settings))


def uncorrected_adam(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam without bias correction.

    `m ← b1 m + (1 − b1) G,  v ← b2 v + (1 − b2) G²,  θ ← θ − eta m / (√v + eps)`

    Source: Oripov2025.
    """

    def init(parameters: Float[Array, " P"]) -> tuple[Array, Array]:
        return jnp.zeros_like(parameters), jnp.zeros_like(parameters)

    def update(
        G: Float[Array, " P"], moments: tuple[Array, Array], parameters: Any = None
    ) -> tuple[Float[Array, " P"], tuple[Array, Array]]:
        del parameters
        m, v = b1 * moments[0] + (1 - b1) * G, b2 * moments[1] + (1 - b2) * G**2
        return m / (jnp.sqrt(v) + eps), (m, v)

    adam = optax.GradientTransformation(init, update)
    return optax.chain(adam, optax.scale_by_learning_rate(learning_rate))


OWN = {"uncorrected_adam": uncorrected_adam}
"""Optimisers missing in Optax."""


class Optimizer(Configuration):
    """An Optax optimiser, selected by name, which turns gradient estimates into updates.

    Arguments: `name`, such as `sgd`, `adam`, `lion`, or `uncorrected_adam`; `settings`, its
    arguments by name, without the learning rate, which is the algorithm's; `schedule`, a factor on
    the learning rate.
    """

    name: str = "sgd"
    settings: Settings = ()
    schedule: Annotated[Schedule, BeforeValidator(_named)] | None = None

    @model_validator(mode="after")
    def _exists(self) -> "Optimizer":
        found = OWN.get(self.name) or getattr(optax, self.name, None)
        if found is None or "learning_rate" not in _arguments(found):
            known = [n for n in dir(optax) if "learning_rate" in _arguments(getattr(optax, n))]
            raise ValueError(f"Optax has no optimiser '{self.name}'; {nearest(self.name, known)}")
        known = [key for key in _arguments(found) if key != "learning_rate"]
        unknown = [key for key, _ in self.settings if key not in known]
        if unknown:
            raise ValueError(
                f"Optax's {self.name} has no setting '{unknown[0]}'; {nearest(unknown[0], known)}"
            )
        if self.settings or self.schedule is not None:
            self._check_by_an_update()
        return self

    def factor(self, updates: Int[Array, ""]) -> Float[Array, ""]:
        """The schedule's factor after a number of updates."""
        return jnp.asarray(1.0 if self.schedule is None else self.schedule.build()(updates))

    def _check_by_an_update(self) -> None:
        theta, optax_rule = jnp.zeros(1), self.build(1.0)
        try:
            jax.eval_shape(lambda: optax_rule.update(theta, optax_rule.init(theta), theta))
        except Exception as error:  # any error of Optax for a setting of a wrong type
            raise ValueError(
                f"Optax's {self.name} does not accept these settings: {told(error)}"
            ) from None

    def build(self, learning_rate: float | Float[Array, "..."]) -> optax.GradientTransformation:
        """The optimiser at a learning rate."""
        rate: Any = learning_rate
        if self.schedule is not None:
            factor = self.schedule.build()

            def rate(count: Any) -> Any:
                return learning_rate * factor(count)

        build: Any = OWN.get(self.name) or getattr(optax, self.name)
        return build(learning_rate=rate, **dict(self.settings))


def _arguments(function: Any) -> list[str]:
    if not inspect.isfunction(function):
        return []
    return list(inspect.signature(function).parameters)


AnyOptimizer: TypeAlias = Annotated[Optimizer, BeforeValidator(_named)]
"""An `Optimizer`, its settings as a table, or its name."""
