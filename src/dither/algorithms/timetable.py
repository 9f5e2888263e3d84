"""The timetable of a gradient rule: the order of its measurements in each tick."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dither.algorithms import calibration
from dither.contract import Clock, Reference

MOST_TICKS = 1024
"""The longest lookahead of a loop, in ticks."""


def counted(ticks: int) -> int:
    """A period, limited to the range of the clock."""
    return min(ticks, 2**31 - 1)


@dataclass(frozen=True)
class Timetable:
    """The parts of every tick: a reference, the perturbed measurements, a trial of the update.

    ```
    one-sided:  0: C(θ), if batch or θ have changed;  1 … turns: C(θ + p_k)
    central:    0, 1: C(θ + p_1), C(θ − p_1);  2, 3: C(θ + p_2), …
    exact:      0: C(θ) with its gradient
    trial:      two more parts, at the end of the ticks whose update is tried first
    ```

    Arguments: `turns`, the number of successive perturbations in a tick, ≥ 1; `central`, whether
    pairs are used instead of a reference; `exact`, whether a tick is one measurement; `tau_x`,
    `tau_theta`, ticks between new batches and updates, ≥ 1; `tries`, whether updates are tried;
    `shared`, the number of estimates with common batch and perturbations, ≥ 1.
    """

    turns: int
    central: bool
    exact: bool
    tau_x: int
    tau_theta: int
    tries: bool
    shared: int = 1

    @property
    def last_perturbed(self) -> int:
        """The last part of a tick without a trial."""
        if self.exact:
            return 0
        return 2 * self.turns - 1 if self.central else self.turns

    @property
    def at_once(self) -> bool:
        """Whether every perturbed measurement completes an update, so that nothing is summed."""
        return self.tau_theta == self.last_perturbed == 1 and not self.tries

    def perturbed(self, part: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """The turn of a part, and its side: +1, −1, or 0 for the reference."""
        if self.central:
            return part // 2, 1 - 2 * (part % 2)
        return jnp.maximum(part - 1, 0), jnp.minimum(part, 1)

    def refers(self, part: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a part is the reference of its successors."""
        if self.exact:
            return jnp.asarray(False)
        first: Bool[Array, ""] = (part % 2 == 0) if self.central else (part == 0)
        return first & ~self.on_trial(part)

    def reference(self, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The tick in which the reference of a tick was due."""
        return tick - jnp.minimum(tick % self.tau_x, tick % self.tau_theta)

    def departure(
        self,
        clock: Clock,
        parameters: Float[Array, " P"],
        layer: Int[Array, ""] | None,
        names: tuple[str, ...],
    ) -> Reference:
        """What a probe shares with the pass at the parameters; see `AbstractDescentRule.layer`."""
        (tick, part), (_, side) = (clock.tick, clock.part), self.perturbed(clock.part)
        first = layer
        if layer is not None:
            first = jnp.where(side == 0, len(names), layer)
            first = jnp.where(self.on_trial(part), 0, first)
        return Reference(
            parameters=parameters,
            batch_index=tick // self.tau_x,
            new=(part == 0) & (self.reference(tick) == tick),
            first=first,
            names=names,
        )

    def on_trial(self, part: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a part measures a trial step."""
        trial: Bool[Array, ""] = part > self.last_perturbed
        return trial

    def trial(self, part: Int[Array, ""]) -> Int[Array, ""]:
        """The number of a trial's measurement, 0 or 1."""
        return part - self.last_perturbed - 1

    def last(self, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The last part of a tick, including a trial."""
        if not self.tries:
            return jnp.asarray(self.last_perturbed, jnp.int32)
        due = calibration.on_trial(tick, self.tau_theta).astype(jnp.int32)
        last: Int[Array, ""] = self.last_perturbed + calibration.TRIAL * due
        return last

    def drawn(self, clock: Clock) -> Clock:
        """The clock that determines the batch and the perturbations at a clock."""
        if self.shared == 1:
            return clock
        estimate, tick = jnp.divmod(clock.tick, self.tau_theta)
        return Clock(tick=estimate // self.shared * self.tau_theta + tick, part=clock.part)

    def last_drawn(self, tick: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the next estimate has its own batch and perturbations."""
        last: Bool[Array, ""] = (tick // self.tau_theta + 1) % self.shared == 0
        return last

    def closes(self, tick: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a tick is the last before an update."""
        full: Bool[Array, ""] = (tick + 1) % self.tau_theta == 0
        return full

    def after(self, clock: Clock) -> Clock:
        """The next clock."""
        over = clock.part == self.last(clock.tick)
        tick = clock.tick + over.astype(jnp.int32)
        first = jnp.zeros((), jnp.int32)
        if not (self.exact or self.central):
            stale = (tick % self.tau_x == 0) | (tick % self.tau_theta == 0)
            first = jnp.where(stale, 0, 1).astype(jnp.int32)
        return Clock(tick=tick, part=jnp.where(over, first, clock.part + 1).astype(jnp.int32))

    def until_update(self) -> int:
        """The number of measurements up to and including the first update."""
        each = self.last_perturbed + (1 if self.exact or self.central else 0)
        references = 0 if self.exact or self.central else -(-self.tau_theta // self.tau_x)
        tried = calibration.START if self.tries else 0
        before = tried * calibration.TRIAL
        return (tried + 1) * (each * self.tau_theta + references) + before

    def retry(self, clock: Clock) -> Clock:
        """The clock at which a failed measurement restarts: at its pair, or at the trial."""
        part = clock.part
        # a reference is not measured again for the next turn
        pair = part - part % 2 if self.central else jnp.where(part == 1, 0, part)
        again = jnp.where(self.on_trial(part), self.last_perturbed + 1, pair)
        return Clock(tick=clock.tick, part=again.astype(jnp.int32))

    def lookahead(self, clock: Clock) -> int:
        """The measurements from a clock to the next update or trial."""
        tick, part, last = int(clock.tick), int(clock.part), self.last_perturbed
        if part > last:
            return last + calibration.TRIAL + 1 - part
        left = min(self.tau_theta - tick % self.tau_theta, MOST_TICKS)
        if self.exact or self.central:
            return (last + 1) * left - part
        references = sum(t % self.tau_x == 0 for t in range(tick + 1, tick + left))
        return self.turns * left + 1 - part + references
