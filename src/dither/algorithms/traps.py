"""Settings that are likely mistakes, each told with what to change."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from dither.codes import AnyCode
from dither.contract import Space


def of_weights(space: Space, least: float, most: float) -> list[str]:
    """Traps of a perturbation of the parameters.

    Arguments: the space; the least amplitude and the most that a perturbation reaches, in a run.
    """
    return [
        *of_dac_step(space, least),
        *of_bounds(space, most),
        *of_digits(space, least),
        *of_float(least),
    ]


def of_dac_step(space: Space, delta: float) -> list[str]:
    """A perturbation below one DAC step, which cannot be written as asked."""
    step = max((parameter.step for parameter in space.parameters), default=0.0)
    if delta >= step:
        return []
    return [
        f"delta = {delta:g} is under one DAC step of {step:.3g}: whole steps are written instead, "
        f"one at the least; set delta to {step:.3g} or more."
    ]


def of_bounds(space: Space, reach: float) -> list[str]:
    """A perturbation that leaves no room between the bounds."""
    room = min(parameter.high - parameter.low for parameter in space.parameters)
    if 4 * reach <= room:
        return []
    left = "little of it is left to train in"
    if 2 * reach > room:
        left = "they are cut at the bounds, and nothing can be trained"
    return [
        f"Perturbations reach {reach:.3g} either way in a range of {room:.3g}: {left}; set a "
        f"smaller delta, such as {0.05 * room:.2g}."
    ]


def of_digits(space: Space, delta: float) -> list[str]:
    """A perturbation that single precision does not resolve beside the parameters."""
    bounds = np.abs([bound for p in space.parameters for bound in (p.low, p.high)])
    far = bounds[np.isfinite(bounds)].max(initial=0.0)
    resolved = 2 * float(np.spacing(np.float32(far)))
    if delta >= resolved or jnp.result_type(float) != jnp.float32:
        return []
    return [
        f"delta = {delta:g} is under what single precision resolves of parameters up to "
        f"{far:g}, {resolved:.2g}: give narrower bounds, or run with JAX_ENABLE_X64=1."
    ]


def of_float(delta: float) -> list[str]:
    """A perturbation that drowns in single precision."""
    if delta >= 1e-5:
        return []
    return [
        f"delta = {delta:g} moves a cost by less than single precision resolves; set delta to "
        "1e-4 or more, or run with JAX_ENABLE_X64=1."
    ]


def of_periods(periods: Mapping[str, int], measurements: int | None) -> list[str]:
    """Periods that the run does not last for."""
    return [
        f"{name} = {ticks} is longer than the run of {measurements} measurements: only one is "
        f"used; set {name} well below it."
        for name, ticks in periods.items()
        if measurements is not None and ticks > 1 and ticks > measurements
    ]


def of_first_update(due: int, measurements: int | None) -> list[str]:
    """An update that the run does not come to. `due`: the measurements until the first."""
    if measurements is None or due <= measurements:
        return []
    return [
        f"The first update is due after {due} measurements and the run takes {measurements}: "
        f"nothing is trained; perturb less often for an update (a smaller tau_theta), or set "
        f"until.measurements well above {due}."
    ]


def of_code(code: AnyCode, tau_p: int, space: Space, measurements: int | None) -> list[str]:
    """A code that the run does not see the end of."""
    cycle = code.cycle(space.size)
    if cycle is None or measurements is None or cycle * tau_p <= measurements:
        return []
    return [
        f"One cycle of the {code.kind} code for {space.size} parameters takes {cycle * tau_p} "
        f"perturbations, more than the run of {measurements} measurements; use the rademacher "
        "code or a longer run."
    ]
