"""Guards on speed: ratios within one run, contenders in turn, margins of two and more."""

import sys
from pathlib import Path

import pytest

from dither import loops
from dither._kernels import built, loaded

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "bench"))

import mirrors
import perceptrons
from line import Line, race

GUARDED = {
    # measured: 2.0, 1.7, 3.4
    "one small network": (perceptrons.LINES["49-4-4, batch 1, 1 replica"], "plain JAX", 1.0),
    "many of them": (perceptrons.LINES["49-4-4, batch 1, 32 replicas"], "plain JAX", 0.8),
    "a reservoir": (mirrors.LINES["photonic reservoir, N = 1024"], "JAX, stacked", 1.5),
}


PROCESSOR = Path("/proc/cpuinfo")
V3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.skipif(not loaded() or not PROCESSOR.exists(), reason="no kernels, or not on Linux")
def test_the_fastest_copy_that_the_processor_runs_is_taken():
    flags = set(PROCESSOR.read_text().split())
    fastest = "AVX-512" if flags >= V4 else "AVX2" if flags >= V3 else "portable"
    assert built()[1] == fastest


@pytest.mark.quick("one small network")
@pytest.mark.parametrize(("line", "rival", "least"), GUARDED.values(), ids=GUARDED)
def test_not_slower_than_the_loop_anyone_would_write(line, rival, least):
    raced = {name: line.contenders[name] for name in ("dither", rival)}
    measured, absent = race(Line(line.unit, raced, rounds=3))
    assert not absent
    assert measured["dither"].median >= least * measured[rival].median


KERNELS = {
    # measured: 2.7, 19
    "small networks": (perceptrons.LINES["49-4-4, batch 64, 32 replicas"], 1.3),
    "mirrors": (mirrors.LINES["mirrors N = 961, uniform, 1 replica"], 5.0),
}


@pytest.mark.skipif(not loaded(), reason="no kernels were built on this machine")
@pytest.mark.parametrize(("line", "least"), KERNELS.values(), ids=KERNELS)
def test_a_kernel_is_faster_than_the_plain_loop(line, least, monkeypatch):
    monkeypatch.setattr(loops, "compiled", loops.compiled)  # which the rival takes away
    raced = {name: line.contenders[name] for name in ("dither", "dither without kernels")}
    measured, _ = race(Line(line.unit, raced, rounds=3))
    assert measured["dither"].median >= least * measured["dither without kernels"].median
