"""The trials of a device check: repeated readings, steps, small and large perturbations."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dither.instruments.under_test import DeviceUnderTest, Reading

RUNGS = 10
"""The number of amplitudes tried, a factor of two apart."""

UNLIKELY = 9.0
"""The significance level: a chance result exceeds it about once in e⁹ = 8000 times."""


def surely(terms: int) -> float:
    """A bound that a sum of K squared standard normal deviates very rarely exceeds.

    ```
    P(χ²_K ≥ K + 2 √(K x) + 2 x) ≤ exp(−x)
    ```

    Source: Laurent and Massart 2000, lemma 1.
    """
    return terms + 2 * float(np.sqrt(terms * UNLIKELY)) + 2 * UNLIKELY


class ReadingNoise(NamedTuple):
    """The noise of an output without and with writes between readings; whether outliers exist."""

    still: float
    written: float
    outliers: bool


def repeat(dut: DeviceUnderTest, repeats: int) -> ReadingNoise:
    """Read the start repeatedly, then again with a write away and back each time."""
    dut.visit(repeats)
    still, far = without_outliers(dut, [reading for _, reading in dut.visits])
    back = []
    for sign in np.resize([1.0, -1.0], repeats):
        away = np.asarray(dut.space.snap(dut.start + sign * dut.small))
        dut.write(away)
        dut.visit()
        back.append(dut.visits[-1][1] if dut.visits else None)
    returned, further = without_outliers(dut, [r for r in back if r is not None])
    # differences of neighbours, so that drift does not count as noise
    steady = float(np.sqrt(np.mean(np.diff(still, axis=0) ** 2) / 2)) if len(still) > 1 else 0.0
    return ReadingNoise(steady, spread(returned), far or further)


def cost_noise(dut: DeviceUnderTest) -> float:
    """The standard deviation of the cost over all returns to the start so far.

    It uses differences of neighbours, so that drift does not count as noise. From the 20 returns of
    `repeat` alone it would be so uncertain that the ladder would mistake noise for curvature.
    """
    returned, _ = without_outliers(dut, dut.returns)
    costs = np.array([dut.cost(reading) for reading in returned])
    return float(np.sqrt(np.mean(np.diff(costs) ** 2) / 2)) if len(costs) > 1 else 0.0


def without_outliers(dut: DeviceUnderTest, readings: list[Reading]) -> tuple[list[Reading], bool]:
    """The readings whose costs are not outliers, and whether there were outliers."""
    if not readings:
        return [], False
    far = far_out(np.array([dut.cost(reading) for reading in readings]))
    return [r for r, left_out in zip(readings, far) if not left_out], bool(far.any())


def spread(readings: list[Reading]) -> float:
    """The standard deviation of one output, pooled over outputs; 0 for fewer than two readings."""
    if len(readings) < 2:
        return 0.0
    # relative to the first, so that equal readings give exactly 0
    return float(np.sqrt(np.var(np.array(readings) - readings[0], axis=0, ddof=1).mean()))


def far_out(costs: Float[np.ndarray, "N *A"]) -> Bool[np.ndarray, "N *A"]:
    """Which costs deviate by more than ten median deviations: 6.7 σ of a normal distribution."""
    off = np.abs(costs - np.median(costs, axis=0))
    typical = np.median(off, axis=0)
    return np.asarray((off > 10 * typical) & (typical > 0))


def scan(dut: DeviceUnderTest, places: np.ndarray, noise: float) -> Float[np.ndarray, " N"]:
    """The change of an output per unit of each parameter, root mean square.

    Each parameter is changed by ±`small`; the start is visited after every five. The result is 0
    for a parameter without an effect beyond the noise, and NaN if a reading failed.
    """
    responses = np.full(len(places), np.nan)
    for number, place in enumerate(places):
        offset = np.zeros(dut.start.size)
        offset[place] = dut.small
        if number % 5 == 0:
            dut.visit()
        pair = dut.pair(offset)
        if pair is None:
            continue
        change = pair[0] - pair[1]
        moved = change @ change
        by_noise = 2 * noise**2
        clear = moved > by_noise * surely(change.size) + 1e-18 * (pair[0] @ pair[0])
        power = max(moved / change.size - by_noise, 0.0) if clear else 0.0
        responses[number] = np.sqrt(power) / (dut.small * (1 if dut.discrete else 2))
    return responses


def settle(dut: DeviceUnderTest, noise: float, repeats: int, rng: np.random.Generator) -> float:
    """The time constant of the response to a step of all parameters, 0 if none is seen.

    ```
    y(t) = c + A exp(−t / τ),   one τ for all steps and outputs
    ```

    The result is the τ with the least sum of squares on a grid with factors of 1.1. Source: derived
    here, checked by the tests.
    """
    runs = []
    offset = dut.small * rng.choice([-1.0, 1.0], dut.start.size)
    for sign in np.resize([1.0, -1.0], max(4, repeats // 4)):
        theta = np.asarray(dut.space.snap(dut.start + sign * offset))
        times, readings = dut.follow(theta)
        if len(times) > 3:
            runs.append((np.array(times), np.array(readings)))
    if not runs:
        return 0.0
    first = min(times[0] for times, _ in runs)
    last = max(times[-1] for times, _ in runs)
    taus = np.geomspace(0.3 * first, 3 * last, 1 + int(np.log(10 * last / first) / np.log(1.1)))
    left = [sum(_unexplained(times, y, tau) for times, y in runs) for tau in taus]
    constant = sum(float(np.sum((y - y.mean(axis=0)) ** 2)) for _, y in runs)
    fits = sum(y.shape[1] for _, y in runs)
    floor = 1e-14 * sum(float(np.sum(y**2)) for _, y in runs)
    best = int(np.argmin(left))
    return float(taus[best]) if constant - left[best] > noise**2 * surely(fits) + floor else 0.0


def _unexplained(
    times: Float[np.ndarray, " m"], readings: Float[np.ndarray, "m K"], tau: float
) -> float:
    basis = np.stack([np.exp(-times / tau), np.ones_like(times)], axis=1)
    fit = np.linalg.lstsq(basis, readings, rcond=None)[0]
    return float(np.sum((readings - basis @ fit) ** 2))


@dataclass(frozen=True)
class Ladder:
    """Cost differences `(C(θ + a p) − C(θ − a p)) / 2` along random signs p.

    Attributes: `amplitudes` a, rising by factors of 2; `changes`, one row for each p, NaN for an
    outlier; `noise`, of one of them.
    """

    amplitudes: Float[np.ndarray, " A"]
    changes: Float[np.ndarray, "R A"]
    noise: float

    def slope(self) -> float:
        """The typical slope of the cost along p, from the highest amplitude that is still linear.

        The contribution of noise is subtracted; 0 if nothing remains.
        """
        power = mean_square(self.changes) - self.noise**2
        reach = self.largest_linear()
        rung = max(int(np.searchsorted(self.amplitudes, reach * (1 + 1e-9))) - 1, 0)
        return float(np.sqrt(max(power[rung], 0.0)) / self.amplitudes[rung])

    def smallest_useful(self) -> float:
        """The amplitude at which a difference equals its noise; infinite if there is none."""
        slope = self.slope()
        return self.noise / slope if slope > 0 else np.inf

    def largest_linear(self) -> float:
        """The amplitude at which a tenth of a difference is due to curvature.

        ```
        S(a) = α a + β a³:   β a³ = (4/3) (S(a) − 2 S(a/2))
        ```

        Interpolated between amplitudes; the largest tried if there is less curvature. Source:
        derived here, checked by the tests.
        """
        power = mean_square(self.changes) - self.noise**2
        bend = self.changes[:, 1:] - 2 * self.changes[:, :-1]
        # S(a) − 2 S(a/2) has 1 + 4 times the variance of one difference
        excess = mean_square(bend) - 5 * self.noise**2
        # the standard error of a mean square over R directions
        doubt = 5 * self.noise**2 * surely(len(bend)) / len(bend) - 5 * self.noise**2
        share = np.where(excess > doubt, np.maximum(excess, 0.0), 0.0)
        share = 4 / 3 * np.sqrt(share / np.maximum(power[1:], 1e-300))
        bent = np.flatnonzero(share > TENTH)
        if not len(bent):
            return float(self.amplitudes[-1])
        k = bent[0]
        # the share grows as a²
        return float(self.amplitudes[k + 1] * np.sqrt(TENTH / share[k]))


def mean_square(values: Float[np.ndarray, "R A"]) -> Float[np.ndarray, " A"]:
    """The mean square over the rows that are not NaN."""
    known = np.isfinite(values)
    squares = np.sum(np.where(known, values, 0.0) ** 2, axis=0)
    return np.asarray(squares / np.maximum(known.sum(axis=0), 1))


TENTH = 0.1
"""The share of a cost difference that may be due to curvature."""


def ladder(
    dut: DeviceUnderTest, directions: int, cost_noise: float, rng: np.random.Generator
) -> Ladder:
    """Perturb along random sign vectors at amplitudes a factor of two apart."""
    if dut.step:
        amplitudes = dut.step * 2.0 ** np.arange(1 + int(np.log2(dut.reach / dut.step)))
    else:
        amplitudes = dut.reach * 2.0 ** np.arange(1 - RUNGS, 1)
    rows = []
    for _ in range(directions):
        p = rng.choice([-1.0, 1.0], dut.start.size)
        dut.visit()
        pairs = [dut.pair(a * p) for a in amplitudes]
        if all(pair is not None for pair in pairs):
            rows.append([0.5 * (dut.cost(p[0]) - dut.cost(p[1])) for p in pairs if p])
    changes = np.array(rows).reshape(-1, len(amplitudes))
    if len(rows):
        changes = np.where(far_out(changes), np.nan, changes)
    return Ladder(amplitudes, changes, cost_noise / np.sqrt(2))


class DriftRate(NamedTuple):
    """The drift of an output, rms, units per second, 0 if not significant; the observed seconds."""

    rate: float
    seconds: float


def drift(dut: DeviceUnderTest) -> DriftRate:
    """Fit a straight line to all readings of the start, for every output."""
    times = np.array([at for at, _ in dut.visits])
    readings = np.array([reading for _, reading in dut.visits])
    seconds = float(np.ptp(times))
    if len(times) < 4 or seconds == 0:
        return DriftRate(0.0, seconds)
    t = times - times.mean()
    slopes = t @ readings / (t @ t)
    left = readings - readings.mean(axis=0) - np.outer(t, slopes)
    variance = float(np.sum(left**2)) / ((len(t) - 2) * readings.shape[1]) / float(t @ t)
    squares = float(slopes @ slopes)
    floor = 1e-14 * float(np.mean(readings**2)) / seconds**2
    clear = squares > variance * surely(slopes.size) + floor * slopes.size
    rate = np.sqrt(max(squares / slopes.size - variance, 0.0)) if clear else 0.0
    return DriftRate(float(rate), seconds)
