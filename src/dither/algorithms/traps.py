"""Warnings about settings that are probably mistakes, each with what to change."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from dither.codes import AnyCode
from dither.contract import Space


def of_weights(space: Space, least: float, most: float) -> list[str]:
    """Warnings about a perturbation of the parameters.

    Arguments: the space; the smallest amplitude and the largest perturbation of a run.
    """
    return [
        *of_dac_step(space, least),
        *of_bounds(space, most),
        *of_digits(space, least),
        *of_float(least),
    ]


def of_dac_step(space: Space, delta: float) -> list[str]:
    """A perturbation below one DAC step, which cannot be written exactly."""
    step = max((parameter.step for parameter in space.parameters), default=0.0)
    if delta >= step:
        return []
    return [
        f"delta = {delta:g} is less than one DAC step of {step:.3g}, so that whole steps are "
        "written, "
        f"at least one; set delta to {step:.3g} or more."
    ]


def of_bounds(space: Space, reach: float) -> list[str]:
    """A perturbation that is too large for the bounds."""
    room = min(parameter.high - parameter.low for parameter in space.parameters)
    if 4 * reach <= room:
        return []
    left = "which leaves little of it for training"
    if 2 * reach > room:
        left = "so that they are clipped and nothing can be trained"
    return [
        f"Perturbations are up to ±{reach:.3g} in a range of {room:.3g}, {left}; set a "
        f"smaller delta, such as {0.05 * room:.2g}."
    ]


def of_digits(space: Space, delta: float) -> list[str]:
    """A perturbation that single precision does not resolve relative to the parameters."""
    bounds = np.abs([bound for p in space.parameters for bound in (p.low, p.high)])
    far = bounds[np.isfinite(bounds)].max(initial=0.0)
    resolved = 2 * float(np.spacing(np.float32(far)))
    if delta >= resolved or jnp.result_type(float) != jnp.float32:
        return []
    return [
        f"delta = {delta:g} is below the resolution of single precision for parameters up to "
        f"{far:g}, {resolved:.2g}; give narrower bounds, or run with JAX_ENABLE_X64=1."
    ]


def of_float(delta: float) -> list[str]:
    """A perturbation whose effect single precision does not resolve."""
    if delta >= 1e-5:
        return []
    return [
        f"delta = {delta:g} changes the cost by less than single precision resolves; set delta to "
        "1e-4 or more, or run with JAX_ENABLE_X64=1."
    ]


def of_periods(periods: Mapping[str, int], measurements: int | None) -> list[str]:
    """Periods longer than the run."""
    return [
        f"{name} = {ticks} is longer than the run of {measurements} measurements, so that "
        "only one is "
        f"used; set {name} well below it."
        for name, ticks in periods.items()
        if measurements is not None and ticks > 1 and ticks > measurements
    ]


def of_first_update(due: int, measurements: int | None) -> list[str]:
    """A first update after the end of the run. `due`: the measurements until it."""
    if measurements is None or due <= measurements:
        return []
    return [
        f"The first update is due after {due} measurements, but the run takes "
        f"{measurements}, so that "
        f"nothing is trained; use fewer perturbations per update (a smaller tau_theta), or set "
        f"until.measurements well above {due}."
    ]


def of_code(code: AnyCode, tau_p: int, space: Space, measurements: int | None) -> list[str]:
    """A code with a cycle longer than the run."""
    cycle = code.cycle(space.size)
    if cycle is None or measurements is None or cycle * tau_p <= measurements:
        return []
    return [
        f"One cycle of the {code.kind} code for {space.size} parameters takes {cycle * tau_p} "
        f"perturbations, more than the run of {measurements} measurements; use the rademacher "
        "code or a longer run."
    ]
