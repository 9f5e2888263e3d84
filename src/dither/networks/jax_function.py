"""A function written in JAX as a network."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, field_serializer, field_validator

from dither._errors import RequestError
from dither._places import find_object
from dither.contract import Parameters
from dither.networks.network import AbstractNetwork, Tap, no_tap

Size = Annotated[int, Field(ge=1)]


class JaxFunction(AbstractNetwork):
    """A pure function `f(parameters, inputs)` that JAX can trace; it is compiled with the loop.

    Arguments: `object`, the function, or `path/to/file.py:name` or `package.module:name`;
    `parameters`, their number (the function receives an array of P), or a table of names and shapes
    (it receives a table of arrays); `input`, the shape or length of one sample; `spread`, for
    initial parameters uniform over (−spread, spread).

    It has no named sites. For functions that JAX cannot trace, use `PythonDevice`.

    Errors: `RequestError` for a function that cannot be traced, or does not return one row per
    sample.
    """

    kind: Literal["jax-function"] = "jax-function"
    object: Annotated[str | Callable[..., Any], Field(examples=["jax.numpy:inner"])]
    parameters: Annotated[Size | tuple[tuple[str, tuple[Size, ...]], ...], Field(examples=[4])]
    input: Annotated[Size | tuple[Size, ...], Field(examples=[4])]
    spread: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("parameters", mode="before")
    @classmethod
    def _pairs_of_a_table(cls, given: Any) -> Any:
        return tuple(given.items()) if isinstance(given, Mapping) else given

    @field_serializer("parameters")
    def _table_of_pairs(self, pairs: Any) -> Any:
        return pairs if isinstance(pairs, int) else {name: list(shape) for name, shape in pairs}

    @field_serializer("object")
    def _place(self, function: Any) -> str:
        if isinstance(function, str):
            return function
        return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"

    def init(self, key: Key[Array, ""]) -> Parameters:
        shapes = self._shapes()
        keys = jax.random.split(key, len(shapes))
        return {
            name: self.spread * jax.random.uniform(k, shape, minval=-1.0)
            for k, (name, shape) in zip(keys, shapes)
        }

    def _shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        if isinstance(self.parameters, int):
            return (("theta", (self.parameters,)),)
        return self.parameters

    def _function(self) -> Callable[..., Any]:
        if not isinstance(self.object, str):
            return self.object
        found: Callable[..., Any] = find_object(self.object)
        return found

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        del tap
        rows: Array = self._rows(parameters, inputs)
        return rows

    def _rows(self, parameters: Parameters, inputs: Array) -> Any:
        given = parameters["theta"] if isinstance(self.parameters, int) else parameters
        outputs = self._function()(given, inputs.reshape(inputs.shape[0], *self.input_shape))
        return outputs[:, None] if outputs.ndim == 1 else outputs

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.input,) if isinstance(self.input, int) else self.input

    @property
    def outputs(self) -> int:
        samples = jnp.zeros((2, *self.input_shape))
        name = self._place(self.object)
        try:
            rows = jax.eval_shape(self._rows, self.init(jax.random.key(0)), samples)
        except (TypeError, AttributeError, jax.errors.JAXTypeError) as error:
            raise RequestError(
                f"JAX cannot trace the function {name} ({str(error).splitlines()[0]}); write it "
                "with jax.numpy, or use it as a Python device."
            ) from None
        if len(rows.shape) != 2 or rows.shape[0] != 2:
            raise RequestError(
                f"The function {name} returns shape {rows.shape} for 2 samples; return one row for "
                "each sample."
            )
        return int(rows.shape[1])
