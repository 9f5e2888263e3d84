"""Time-outs, waits and slew limits of a device's calls."""

import math
from typing import Annotated, Any

from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.instruments.calls import Calls


class Guard(Configuration):
    """The limits and waits of a device's calls.

    Arguments:
        timeout: time limit of a call, s, > 0; without it, a call that hangs blocks the run. A late
            call is a failed measurement. No other call is made until it returns or the device has
            been reconnected, so that the instrument never receives two calls at once.
        backoff: wait after a failure, s, ≥ 0; doubled at each further failure in a row, up to one
            minute.
        reconnect_after: failures in a row after which `reconnect()` is called, if the device has
            it, and again after as many more; its setting is then written again, in one write.
        settle: wait after each write, s, ≥ 0.
        slew: largest change of a parameter in one write, > 0, in its units; a larger change is
            written in steps, each of which counts as a write. The first write of a run is exempt,
            because the device's setting before it is unknown.
        rewrite: whether an unchanged setting is written again, for volatile or drifting devices;
            after a failure it always is.
        drift: threshold of the drift alarm in standard errors, > 0, such as 5. The initial
            parameters are measured five times at each evaluation, and a change of their cost beyond
            the threshold raises the alarm. Drift is not watched if this is not given.
    """

    timeout: Annotated[float, Field(gt=0)] | None = None
    backoff: Annotated[float, Field(ge=0)] = 0.0
    reconnect_after: Annotated[int, Field(ge=1)] = 3
    settle: Annotated[float, Field(ge=0)] = 0.0
    slew: Annotated[float, Field(gt=0)] | None = None
    rewrite: bool = False
    drift: Annotated[float, Field(gt=0)] | None = None

    def around(self, target: Any, abilities: frozenset[type], step: float) -> Calls:
        """The guarded calls of an object. `step`: its DAC step, 0 for continuous."""
        return Calls(
            target,
            abilities,
            timeout=self.timeout,
            backoff=self.backoff,
            reconnect_after=self.reconnect_after,
            settle=self.settle,
            slew=self._largest_change(step),
            rewrite=self.rewrite,
        )

    def _largest_change(self, step: float) -> float:
        """The slew limit in whole DAC steps. Errors: `RequestError` if it is less than one step."""
        if self.slew is None:
            return math.inf
        if step == 0:
            return self.slew
        steps = math.floor(self.slew / step + 1e-6)
        if steps == 0:
            raise RequestError(
                f"guard.slew = {self.slew:g} is less than one DAC step of {step:.3g}, so "
                "that nothing "
                "can be written; set it to one step or more."
            )
        return steps * step
