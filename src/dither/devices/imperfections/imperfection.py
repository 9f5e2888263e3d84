"""What an imperfection of a simulated device is."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import Parameter, Status


class Blueprint(NamedTuple):
    """What a device is made by.

    Attributes: `size`, P; `outputs`, how many it reads out at once; `sites`, its network's, with
    their shapes for one example.
    """

    size: int
    outputs: int
    sites: dict[str, tuple[int, ...]]


class Write(eqx.Module):
    """One write as it is asked for.

    Attributes: `before`, `after`, the parameters asked for until now and from now on; `updated`,
    whether the unperturbed ones have changed; `places`, which of the P are written, None for all.
    """

    before: Float[Array, " P"]
    after: Float[Array, " P"]
    updated: Bool[Array, ""]
    places: Int[Array, " K"] | None = None

    @property
    def touched(self) -> Bool[Array, " P"]:
        """Which parameters are written, changed or not."""
        if self.places is None:
            return jnp.ones_like(self.after, bool)
        return jnp.zeros_like(self.after, bool).at[self.places].set(True, mode="drop")


class AbstractImperfection(Configuration):
    """One way in which a device departs from its network; several compose in the order given.

    Each hook below leaves its argument as it is unless an imperfection says otherwise.
    """

    kind: str

    @property
    def fails(self) -> bool:
        """Whether it can make a measurement fail."""
        return False

    @property
    def seconds(self) -> float:
        """What it adds to the time of a write and a measurement."""
        return 0.0

    @property
    def time_out(self) -> float:
        """What a measurement that it makes hang takes beyond the others, in seconds."""
        return 0.0

    def joules(self, size: int, outputs: int) -> tuple[float, float]:
        """What it spends beyond the device's own on a write of P parameters, and on a sample."""
        del size, outputs
        return 0.0, 0.0

    def limit(self, parameter: Parameter) -> Parameter:
        """What of a parameter can be set: bounds, levels."""
        return parameter

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Any:
        """What is particular to one instance: a pytree, drawn once."""
        del key, blueprint
        return ()

    def written(self, instance: Any, key: Key[Array, ""], write: Write) -> Any:
        """The instance after a write."""
        del key, write
        return instance

    def measured(self, instance: Any, key: Key[Array, ""], outputs: Float[Array, "B K"]) -> Any:
        """The instance after a measurement, which is what time is counted in.

        `outputs` are those that came to it, before its own hook `outputs`: what it can remember.
        """
        del key, outputs
        return instance

    def parameters(self, instance: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        """The parameters in effect for those written."""
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
        """The cost as read: one of the batch, or one for each sample."""
        del instance, key
        return cost

    def status(self, instance: Any, key: Key[Array, ""]) -> Int[Array, ""] | Status:
        """How this measurement ends; of several imperfections the highest status holds."""
        del instance, key
        return Status.DONE
