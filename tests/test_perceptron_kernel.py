"""The kernel of weight perturbation on perceptrons, against the plain loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import Optimizer, WeightMGD, loops
from dither._kernels import loaded
from dither.devices.imperfections import DAC, Bounds, CostNoise, Mismatch, OutputNoise
from dither.loops import compiled
from dither.training.fused import FusedLoop
from dither.training.loop import Carry

pytestmark = pytest.mark.skipif(not loaded(), reason="no kernels were built on this machine")

SETTINGS: dict[str, dict[str, Any]] = {
    "one example": {"widths": (49, 4, 4)},
    "central": {"widths": (49, 4, 4), "rule": {"pairs": "central"}},
    "periods": {
        "widths": (9, 5, 17, 3),
        "batch": 16,
        "cost": "cross_entropy",
        "rule": {"tau_theta": 5, "tau_x": 3, "tau_p": 2},
    },
    "wide": {
        "widths": (9, 40, 3),
        "batch": 29,
        "cost": "smoothed_cross_entropy",
        "activation": "relu",
        "rule": {"tau_theta": 4, "tau_x": 2, "pairs": "central"},
    },
    "whole set": {"widths": (2, 2, 1), "batch": 200, "output": "sigmoid", "rule": {"tau_x": 3}},
    "bounds": {
        "widths": (9, 5, 3),
        "imperfections": (Bounds(low=-0.7, high=0.7), CostNoise(sigma=0.01)),
        "rule": {"pairs": "central"},
    },
    "adam on a DAC": {
        "widths": (9, 5, 3),
        "batch": 20,
        "cost": "cross_entropy",
        "imperfections": (DAC(low=-1.0, high=1.0, bits=8), OutputNoise(sigma=0.01)),
        "rule": {"optimizer": Optimizer(name="adam"), "learning_rate": 1e-3, "tau_theta": 2},
    },
    "mismatch": {
        "widths": (9, 5, 3),
        "batch": 20,
        "imperfections": (
            CostNoise(sigma=0.01),
            Mismatch(gain=0.1, offset=0.1),
            OutputNoise(sigma=0.1),
        ),
        "rule": {"tau_theta": 3},
    },
}


def parts(
    widths: tuple[int, ...],
    batch: int = 1,
    cost: str = "mse",
    activation: Any = "tanh",
    output: Any = "identity",
    imperfections: tuple[Any, ...] = (),
    rule: Any = None,
    plain: bool = False,
) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(200, widths[0])).astype("f4"), rng.integers(0, max(2, widths[-1]), 200)
    task = dither.make_task(x, t, x[:10], t[:10], batch=batch, cost=cost)
    network = dither.MLP(widths=widths, activation=activation, output=output)
    # the setting that changes nothing keeps the compiled programs of the two apart
    device = dither.SimulatedDevice(
        network=network, imperfections=imperfections, seconds_per_write=float(plain)
    )
    return WeightMGD(**{"learning_rate": 0.02, "delta": 0.02, **(rule or {})}), device, task


def leaves(carry: Carry) -> list[np.ndarray]:
    def plain(leaf: jax.Array) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(carry)]


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "compiled", lambda *_: None)


@pytest.mark.quick("wide", "adam on a DAC", "periods", "mismatch")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_kernel_computes_what_the_plain_loop_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = SETTINGS[name]
    kernel = FusedLoop(*parts(**setting), [0, 1, 2])
    assert compiled(*parts(**setting), kernel.carry) is not None
    kernel.advance(101)
    without_kernel(monkeypatch)
    plain = FusedLoop(*parts(**setting, plain=True), [0, 1, 2])
    plain.advance(101)
    found, wanted = leaves(kernel.to_save()), leaves(plain.to_save())
    for a, b in zip(found, wanted, strict=True):
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
        else:
            # 101 updates of a rounding error of 1e-7 that perturbations of 0.02 enlarge by 50
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * max(1e-3, np.abs(b).max()))


def test_settings_that_differ_between_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = SETTINGS["bounds"]
    varied = {
        "algorithm.learning_rate": jnp.array([0.01, 0.05]),
        "algorithm.delta": jnp.array([0.01, 0.03]),
        "device.imperfections.1.sigma": jnp.array([0.0, 0.1]),
    }
    kernel = FusedLoop(*parts(**setting), [0, 1], varied)
    assert compiled(*parts(**setting), kernel.carry) is not None
    kernel.advance(50)
    without_kernel(monkeypatch)
    plain = FusedLoop(*parts(**setting, plain=True), [0, 1], varied)
    plain.advance(50)
    np.testing.assert_allclose(kernel.parameters(), plain.parameters(), atol=2e-4)


@pytest.mark.parametrize("name", ["periods", "adam on a DAC", "mismatch"])
def test_however_a_run_is_cut_it_is_the_same_bit_for_bit(name: str) -> None:
    whole, cut = (FusedLoop(*parts(**SETTINGS[name]), [0, 1]) for _ in range(2))
    whole.advance(60)
    for n in (1, 6, 13, 40):
        cut.advance(n)
    for a, b in zip(leaves(whole.to_save()), leaves(cut.to_save()), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change",
    [
        {"rule": {"optimizer": Optimizer(name="rmsprop")}},
        {"rule": {"outliers": 5.0}},
        {"rule": {"learning_rate": "auto"}},
        {"activation": "gelu"},
        {"imperfections": (OutputNoise(sigma=0.1), OutputNoise(sigma=0.1))},
    ],
)
def test_other_settings_take_the_plain_loop(change: dict[str, Any]) -> None:
    setting = {"widths": (3, 2), **change}
    loop = FusedLoop(*parts(**setting), [0])
    assert compiled(*parts(**setting), loop.carry) is None
