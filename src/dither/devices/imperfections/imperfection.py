"""What an imperfection of a simulated device is."""

from typing import Any

from jaxtyping import Array, Bool, Float, Key

from dither._configuration import Configuration
from dither.devices.space import Parameter


class AbstractImperfection(Configuration):
    """One way in which a device departs from its network; several compose in the order given.

    Each hook below leaves its argument as it is unless an imperfection says otherwise.
    """

    kind: str

    @property
    def fails(self) -> bool:
        """Whether it can make a measurement fail."""
        return False

    def limit(self, parameter: Parameter) -> Parameter:
        """What of a parameter can be set: bounds, levels."""
        return parameter

    def fabricate(self, key: Key[Array, ""], size: int, sites: dict[str, tuple[int, ...]]) -> Any:
        """What is particular to one specimen: a pytree, drawn once.

        Arguments: a key; P; the network's sites with their shapes for one example.
        """
        del key, size, sites
        return ()

    def written(self, specimen: Any, key: Key[Array, ""], updated: Bool[Array, ""]) -> Any:
        """The specimen after a write; `updated` says that the unperturbed parameters changed."""
        del key, updated
        return specimen

    def parameters(self, specimen: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        """The parameters in effect for those written."""
        del specimen
        return theta

    def site(self, specimen: Any, site: str, value: Array) -> Array:
        """The value at a site of the network."""
        del specimen, site
        return value

    def outputs(
        self, specimen: Any, key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        """The outputs as read."""
        del specimen, key
        return outputs

    def cost(
        self, specimen: Any, key: Key[Array, ""], cost: Float[Array, "*B"]
    ) -> Float[Array, "*B"]:
        """The cost as read: one of the batch, or one for each sample."""
        del specimen, key
        return cost

    def failed(self, specimen: Any, key: Key[Array, ""]) -> Bool[Array, ""] | bool:
        """Whether this measurement fails."""
        del specimen, key
        return False
