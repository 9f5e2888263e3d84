"""What a user's own rule or network raises: told with the user's file and line, before a run."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dither import RequestError
from dither.cli import app

RULE = """
import jax.numpy as jnp

from dither.algorithms import WeightMGD
from dither.networks import MLP


class Sign(WeightMGD):
    def precondition(self, state, estimate):
        return jnp.sign(estimate)


class Sing(WeightMGD):
    def precondition(self, state, estimate):
        return jnp.sing(estimate)


class Branches(WeightMGD):
    def precondition(self, state, estimate):
        return estimate if estimate[0] > 0 else -estimate


class Fewer(WeightMGD):
    def precondition(self, estimate):
        return jnp.sign(estimate)


class Network(MLP):
    def __call__(self, *anything):
        return 1 / 0
"""


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """An empty folder that is worked in, with the rules' file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    Path("rule.py").write_text(RULE)


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("algorithm.kind", "Sing", r"AttributeError: .*'sing'.* in rule\.py, line 15\."),
        ("algorithm.kind", "Branches", r"boolean.* in rule\.py, line 20\."),
        ("algorithm.kind", "Fewer", r"takes 2 positional arguments but 3 were given\."),
        ("device.network.kind", "Network", r"ZeroDivisionError: .* in rule\.py, line 30\."),
    ],
)
def test_what_an_own_class_raises_is_told_before_anything_is_written(key, name, said):
    words = ["train", "xor", "--set", f"{key}='rule.py:{name}'", "--out", "deep/run"]
    told = CliRunner().invoke(app, words).exception
    assert isinstance(told, RequestError), told
    assert re.search(f"^The class {name} fails .*{said}$", str(told)), told
    assert not Path("deep").exists()


def test_so_it_is_around_a_python_device():
    Path("lab.py").write_text("class Chip:\n    parameters, bounds = 3, (-1.0, 1.0)\n"
        "    def write(self, theta): self.theta = theta\n"
        "    def measure(self, x): return x @ self.theta[:2, None] + self.theta[2]\n")  # fmt: skip
    words = ["train", "xor", "--device", "lab.py:Chip", "--out", "deep/run", "--set"]
    told = CliRunner().invoke(app, [*words, "algorithm.kind='rule.py:Sing'"]).exception
    assert isinstance(told, RequestError), told
    assert re.search(r"^The class Sing fails .* in rule\.py, line 15\.$", str(told)), told
    assert not Path("deep").exists()
    limits = ["--set", "until={measurements=40}"]
    done = CliRunner().invoke(app, [*words, "algorithm.kind='rule.py:Sign'", *limits])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("name", "refused"), [("Sing", True), ("Sign", False)])
def test_an_own_rule_that_fails_is_told_by_a_dry_run(name, refused):
    Path("study.toml").write_text(
        f'base = "xor"\nseeds = 2\n[axes]\n"algorithm.kind" = ["weight-mgd", "rule.py:{name}"]\n'
    )
    told = CliRunner().invoke(app, ["study", "study.toml", "--dry-run"])
    assert isinstance(told.exception, RequestError) == refused
    assert refused or told.exit_code == 0
