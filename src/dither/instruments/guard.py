"""How a specification says that a device's calls are guarded."""

import math
from typing import Annotated, Any

from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.instruments.calls import Calls


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
        rewrite: whether a setting that has not changed is written again, as volatile or drifting
            settings want; after a failure it always is.
        drift: the parameters at the start are measured again, five times, with each evaluation, and
            an alarm is given where their cost has moved by more than so many standard errors, > 0,
            such as 5; not watched if not given.
    """

    timeout: Annotated[float, Field(gt=0)] | None = None
    backoff: Annotated[float, Field(ge=0)] = 0.0
    reconnect_after: Annotated[int, Field(ge=1)] = 3
    settle: Annotated[float, Field(ge=0)] = 0.0
    slew: Annotated[float, Field(gt=0)] | None = None
    rewrite: bool = False
    drift: Annotated[float, Field(gt=0)] | None = None

    def around(self, target: Any, abilities: frozenset[type], step: float) -> Calls:
        """The calls of an object under this guard. `step`: its DAC step, 0 for continuous."""
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
        """The slew limit in whole DAC steps. Errors: `RequestError` where it is under one step."""
        if self.slew is None:
            return math.inf
        if step == 0:
            return self.slew
        steps = math.floor(self.slew / step + 1e-6)
        if steps == 0:
            raise RequestError(
                f"guard.slew = {self.slew:g} is under one DAC step of {step:.3g}, so that nothing "
                "can be written; set it to one step or more."
            )
        return steps * step
