"""The base class of imperfections."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import Parameter, Status


class Blueprint(NamedTuple):
    """The design of a device.

    Attributes: `size`, P; `outputs`, the number read at once; `sites`, those of its network with
    their shapes for one example.
    """

    size: int
    outputs: int
    sites: dict[str, tuple[int, ...]]


class Write(eqx.Module):
    """A requested write.

    Attributes: `before`, `after`, the requested parameters before and after; `updated`, whether the
    unperturbed ones have changed; `places`, the indices of those written, None for all.
    """

    before: Float[Array, " P"]
    after: Float[Array, " P"]
    updated: Bool[Array, ""]
    places: Int[Array, " K"] | None = None

    @property
    def touched(self) -> Bool[Array, " P"]:
        """Which parameters are written, whether or not they change."""
        if self.places is None:
            return jnp.ones_like(self.after, bool)
        return jnp.zeros_like(self.after, bool).at[self.places].set(True, mode="drop")


class AbstractImperfection(Configuration):
    """A deviation of a device from its network; several are applied in the given order.

    By default, each hook below returns its argument unchanged.
    """

    kind: str

    @property
    def fails(self) -> bool:
        """Whether it can make a measurement fail."""
        return False

    @property
    def seconds(self) -> float:
        """The additional time of a write and a measurement, s."""
        return 0.0

    @property
    def time_out(self) -> float:
        """The additional time of a measurement that hangs, s."""
        return 0.0

    def joules(self, size: int, outputs: int) -> tuple[float, float]:
        """The additional energy of a write of P parameters, and of a sample, J."""
        del size, outputs
        return 0.0, 0.0

    def limit(self, parameter: Parameter) -> Parameter:
        """The limits of a parameter: bounds, levels."""
        return parameter

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Any:
        """The random properties of one instance: a pytree, drawn once."""
        del key, blueprint
        return ()

    def written(self, instance: Any, key: Key[Array, ""], write: Write) -> Any:
        """The instance after a write."""
        del key, write
        return instance

    def measured(self, instance: Any, key: Key[Array, ""], outputs: Float[Array, "B K"]) -> Any:
        """The instance after a measurement, the unit of time.

        `outputs` are those before its own hook `outputs`, which it can remember.
        """
        del key, outputs
        return instance

    def parameters(self, instance: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        """The effective parameters for the written ones."""
        del instance
        return theta

    def site(self, instance: Any, key: Key[Array, ""], site: str, value: Array) -> Array:
        """The value at a site of the network; the key is the same at every site."""
        del instance, key, site
        return value

    def outputs(
        self, instance: Any, key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        """The outputs as read."""
        del instance, key
        return outputs

    def cost(
        self, instance: Any, key: Key[Array, ""], cost: Float[Array, "*B"]
    ) -> Float[Array, "*B"]:
        """The cost as read: one for the batch, or one for each sample."""
        del instance, key
        return cost

    def status(self, instance: Any, key: Key[Array, ""]) -> Int[Array, ""] | Status:
        """The status of this measurement; of several imperfections the highest status applies."""
        del instance, key
        return Status.DONE
