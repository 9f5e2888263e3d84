"""Shapes are checked in every test: jaxtyping with beartype over the whole package."""

import getpass
import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# compiled programs are shared by the test workers and by the subprocesses that tests start
CACHE = Path(tempfile.gettempdir()) / f"dither-tests-{getpass.getuser()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("dither", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from dither import _interrupt  # noqa: E402

settings.register_profile("dither", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("dither")

TESTS = itertools.count(1)

LONG = frozenset({
    # algorithms, each of which shares its estimate or its loop with one that is always tested
    "layerwise-mgd", "analog-mgd", "spsa", "activity-difference", "decorrelated-node-perturbation",
    "local-losses", "forward-gradient", "local-forward-gradient", "physics-aware",
    "learned-feedback", "feedback-alignment", "direct-feedback-alignment", "boolean-least-squares",
    "finite-differences", "boolean-mgd", "evolution",
    # imperfections, most of which have a test of their equation as well
    "crosstalk", "write-noise", "nonlinear-update", "relative-noise", "update-noise", "stuck",
    "dead", "bounds", "pink-noise", "bursts", "cost-noise", "layer-converter", "layer-noise",
    "hung-reads", "latency", "activation-defects", "output-drift", "adc",
})  # fmt: skip
"""The algorithms and imperfections whose tests `make test` leaves to `make test-all`."""


def is_quick(item):
    """Whether `quick` names the case."""
    return any(item.callspec.id in mark.args for mark in item.iter_markers("quick"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as long every case of `LONG`, and those beside the cases that `quick` names."""
    named = {item.function for item in items if is_quick(item)}
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        case = given.get("subject", given.get("kind"))
        left_out = item.function in named and not is_quick(item)
        if left_out or str(getattr(case, "kind", case)) in LONG:
            item.add_marker(pytest.mark.long)


def pytest_runtest_teardown():
    """Forget compiled programs before a worker holds more mappings than Linux allows (65 530).

    One module alone can hold 55 000, one test adds up to 2 200: every eighth test looks.
    """
    maps = Path("/proc/self/maps")
    if next(TESTS) % 8 == 0 and maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def no_signal_was_heard():
    """A signal that one test sends is not the exit status of the next one's commands."""
    _interrupt._HEARD.clear()


@pytest.fixture
def x64():
    """Double precision, where an exact value is compared."""
    with jax.enable_x64(True):
        yield
