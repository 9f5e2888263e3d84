"""The kernel of coordinate descent on a readout, against the plain loop and plain NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import loops
from dither._kernels import loaded
from dither.algorithms import CoordinateDescent
from dither.devices import ReadoutDevice
from dither.devices.imperfections import ADC, CostNoise, OutputNoise, RelativeNoise
from dither.loops import compiled
from dither.networks import PhotonicReservoir, StateNoise
from dither.tasks import MackeyGlass, SeriesTask, nmse
from dither.training.fused import FusedLoop

pytestmark = pytest.mark.skipif(not loaded(), reason="no kernels were built on this machine")

TASK = SeriesTask(series=MackeyGlass(washout=20, train=77, test=40, skip=100.0)).load()
NOISE = (CostNoise(sigma=0.01), OutputNoise(sigma=0.1), RelativeNoise(sigma=0.02))
OF_STATES = StateNoise(
    additive=0.01, additive_common=0.02, multiplicative=0.03, multiplicative_common=0.04
)

SETTINGS: dict[str, dict[str, Any]] = {
    "uniform": {"selection": "uniform"},
    "cyclic": {"selection": "cyclic"},
    "greedy": {"selection": "greedy", "neurons": 324, "n": 900},
    "greedy among few": {"selection": "greedy", "neurons": 9},
    "priority": {"selection": "priority", "neurons": 100, "n": 500, "rule": {"on": 0.05}},
    "priority among few": {"selection": "priority", "neurons": 9},
    "measured again": {"selection": "uniform", "decision": "remeasure", "imperfections": NOISE},
    "significant": {"selection": "greedy", "decision": "significant", "imperfections": NOISE},
    "noise of states": {"selection": "cyclic", "noise": OF_STATES, "weights": "ternary"},
    "coherent": {"selection": "uniform", "readout": "coherent", "weights": "ternary"},
}


def parts(
    selection: Any,
    decision: Any = "keep",
    neurons: int = 64,
    n: int = 0,
    rule: Any = None,
    plain: bool = False,
    **device: Any,
) -> tuple[Any, ...]:
    del n
    # the setting that changes nothing keeps the compiled programs of the two apart
    bench = ReadoutDevice(
        reservoir=PhotonicReservoir(neurons=neurons, radius=1),
        seconds_per_write=float(plain),
        **device,
    )
    return CoordinateDescent(selection=selection, decision=decision, **(rule or {})), bench, TASK


def leaves(loop: FusedLoop) -> dict[str, np.ndarray]:
    def plain(leaf: jax.Array) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    found = jax.tree_util.tree_leaves_with_path(loop.to_save())
    return {jax.tree_util.keystr(path): plain(leaf) for path, leaf in found}


ROUNDED = (
    *("error", "first", "falls.mean", "falls.spread", "cost"),
    *("memory.falls", "memory.moved", "memory.squares", "memory.moves"),
)
"""What is computed in double precision here and in single there."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_kernel_computes_what_the_plain_loop_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = SETTINGS[name]
    n = setting.get("n", 200)
    kernel = FusedLoop(*parts(**setting), [0, 1, 2])
    assert compiled(*parts(**setting), kernel.carry) is not None
    kernel.advance(n)
    monkeypatch.setattr(loops, "compiled", lambda *_: None)
    plain = FusedLoop(*parts(**setting, plain=True), [0, 1, 2])
    plain.advance(n)
    wanted = leaves(plain)
    for path, found in leaves(kernel).items():
        # with these seeds no fall is so near 0 that rounding decides what is kept
        if path.endswith(ROUNDED):
            np.testing.assert_allclose(found, wanted[path], rtol=1e-5, atol=2e-6, err_msg=path)
        elif "squares" in path:
            np.testing.assert_allclose(found, wanted[path], rtol=1e-5, err_msg=path)
        else:
            np.testing.assert_array_equal(found, wanted[path], err_msg=path)


@pytest.mark.quick("greedy", "measured again", "noise of states")
@pytest.mark.parametrize("name", SETTINGS)
def test_however_a_run_is_cut_it_is_the_same_bit_for_bit(name: str) -> None:
    whole, cut, alone = (FusedLoop(*parts(**SETTINGS[name]), s) for s in ([0, 1], [0, 1], [1]))
    whole.advance(90)
    for n in (1, 6, 33, 50):
        cut.advance(n)
    alone.advance(90)
    wanted = leaves(whole)
    for path, found in leaves(cut).items():
        np.testing.assert_array_equal(found, wanted[path], err_msg=path)
    for path, found in leaves(alone).items():
        mine = wanted[path] if "clock" in path else wanted[path][1:]
        np.testing.assert_array_equal(found, mine, err_msg=path)


@pytest.mark.long
def test_the_error_is_that_of_the_light_that_the_mirrors_send() -> None:
    loop = FusedLoop(*parts("cyclic", neurons=196), [0, 1])
    loop.advance(3000)
    state, bench = loop.carry.algorithm, loop.carry.device
    columns = np.asarray(bench.columns.train, np.float64)
    for theta, light, error, weights, c in zip(
        *map(np.asarray, (state.theta, bench.light, state.error, bench.weights)), columns
    ):
        wanted = nmse(theta @ c, np.asarray(TASK.targets[0]))
        # the error is known as a sum of falls, each rounded once
        assert error == pytest.approx(wanted, rel=1e-4)
        assert error < 0.1
        np.testing.assert_array_equal(light, weights @ c)


@pytest.mark.parametrize(
    "change",
    [
        {"selection": "amplitude-weighted"},
        {"rule": {"flips": 2, "cooling": 1.0}},
        {"rule": {"temperature": 0.1, "cooling": 1.0}},
        {"imperfections": (ADC(low=0.0, high=9.0, bits=8),)},
    ],
)
def test_other_settings_take_the_plain_loop(change: dict[str, Any]) -> None:
    setting = {"selection": "uniform", **change}
    loop = FusedLoop(*parts(**setting), [0])
    assert compiled(*parts(**setting), loop.carry) is None


def test_settings_that_differ_between_replicas_take_the_plain_loop() -> None:
    setting = parts("uniform", imperfections=NOISE)
    varied = {"device.imperfections.0.sigma": jnp.array([0.0, 0.1])}
    assert compiled(*setting, FusedLoop(*setting, [0, 1], varied).carry) is None
