"""Specifications: presets, TOML files, changes from the shell, and errors that say where."""

import tomllib

import numpy as np
import pytest

from dither import MLP, RequestError, SimulatedDevice, read_specification
from dither.devices import Bounds
from dither.training import preset_names, to_toml

GOOD = """\
name = "small"
replicas = 2

[task]
kind = "xor"

[device]
kind = "simulated"
network = { kind = "mlp", widths = [2, 2, 1] }
imperfections = [{ kind = "cost-noise", sigma = 0.1 }, { kind = "bounds", low = -2, high = 2 }]

[algorithm]
kind = "weight-mgd"
learning_rate = 0.5

[until]
measurements = 100
"""


@pytest.fixture
def read(tmp_path):
    def read(text=GOOD, changes=()):
        file = tmp_path / "run.toml"
        file.write_text(text)
        return read_specification(str(file), changes)

    return read


def test_there_are_presets():
    assert "nist7x7" in preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_validates_and_round_trips(name, tmp_path):
    specification = read_specification(name)
    assert specification.name == name
    assert specification.about
    text = to_toml(specification)
    tomllib.loads(text)
    file = tmp_path / "again.toml"
    file.write_text(text)
    assert read_specification(str(file)) == specification


def test_a_file_round_trips(read):
    specification = read()
    assert read(to_toml(specification)) == specification
    assert specification.device.network.widths == (2, 2, 1)
    assert [i.kind for i in specification.device.imperfections] == ["cost-noise", "bounds"]


def test_a_runs_folder_is_a_specification(read, tmp_path):
    first = read().train(tmp_path / "run")
    again = read_specification(str(tmp_path / "run")).train()
    assert (first.parameters == again.parameters).all()
    assert first.ledger == again.ledger


def test_the_name_is_the_files_if_none_is_given(read):
    assert read(GOOD.replace('name = "small"\n', "")).name == "run"


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("algorithm.learning_rate=0.25", 0.25),
        ("algorithm.code=walsh", "walsh"),
        ("algorithm.code.kind=walsh", "walsh"),
        ("algorithm.optimizer=adam", "adam"),
        ("algorithm.pairs = central", "central"),
        ("device.network.widths=[2, 3, 1]", (2, 3, 1)),
        ("device.imperfections.0.sigma=0.5", 0.5),
        ("until.score=0.9", 0.9),
        ("replicas=7", 7),
    ],
)
def test_changes(read, change, value):
    found = read(GOOD, [change])
    for key in change.partition("=")[0].strip().split("."):
        found = found[int(key)] if key.isdigit() else getattr(found, key)
    assert value in (found, getattr(found, "kind", None), getattr(found, "name", None))


def test_later_changes_win_and_optimizer_settings_are_reached(read):
    changes = ["replicas=3", "replicas=4", "algorithm.optimizer=adam",
               "algorithm.optimizer.settings={b1 = 0.5}"]  # fmt: skip
    specification = read(GOOD, changes)
    assert specification.replicas == 4
    assert dict(specification.algorithm.optimizer.settings) == {"b1": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ("learning_rate = 0.5", "learning_rte = 0.5", ["algorithm", "learning_rate"]),
        (
            "learning_rate = 0.5",
            'learning_rate = "fast"',
            ["algorithm.learning_rate", "line 14", "fast"],
        ),
        ("learning_rate = 0.5", "learning_rate = -1", ["algorithm.learning_rate", "line 14"]),
        ("learning_rate = 0.5", "", ["algorithm.learning_rate is missing"]),
        ('kind = "weight-mgd"', 'kind = "weigth-mgd"', ["weigth-mgd", "weight-mgd", "line"]),
        ('kind = "weight-mgd"', "", ["algorithm needs a kind"]),
        ("[2, 2, 1]", "[2, 0, 1]", ["device.network.widths", "line 9"]),
        ("sigma = 0.1", "sgma = 0.1", ["device.imperfections.0", "sigma", "line 10"]),
        ("low = -2", "low = 3", ["device.imperfections.1", "low < high"]),
        ("replicas = 2", "replicas = 0", ["replicas", "line 2"]),
        ("replicas = 2", "replica = 2", ["replicas", "line 2"]),
        ("measurements = 100", "score = 0.5", ["until", "a run needs an end"]),
        ("measurements = 100", "measurments = 100", ["until", "measurements", "line 17"]),
        ("[until]", "[untl]", ["unt"]),
        ("replicas = 2", "replicas = = 2", ["is not TOML", "line 2"]),
    ],
)
def test_mistakes_are_named_with_key_and_line(read, old, new, sentences):
    with pytest.raises(RequestError) as caught:
        read(GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert "\n" not in message
    assert "run.toml" in message
    for sentence in sentences:
        assert sentence in message


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("algorithm.learning_rte=1", "learning_rate"),
        ("algorithm.learning_rate=fast", "algorithm.learning_rate"),
        ("algorithm.learning_rate", "key=value"),
        ("=3", "key=value"),
        ("replicas.more=3", "not a table"),
        ("device.imperfections.5.sigma=1", "index below 2"),
        ("algorithm.optimizer=adm", "adam"),
        ("algorithm.code=wlash", "walsh"),
    ],
)
def test_wrong_changes_are_named(read, change, sentence):
    with pytest.raises(RequestError, match=sentence) as caught:
        read(GOOD, [change])
    assert "\n" not in str(caught.value)


def test_a_copy_computes_cached_properties_again():
    device = SimulatedDevice(network=MLP(widths=(2, 1)))
    assert np.isinf([p.low for p in device.space.parameters]).all()
    bounded = device.model_copy(update={"imperfections": (Bounds(low=-1.0, high=1.0),)})
    assert all(p.low == -1 for p in bounded.space.parameters)
    assert np.isinf([p.low for p in device.space.parameters]).all()


def test_unknown_presets_and_files():
    with pytest.raises(RequestError, match="did you mean nist7x7"):
        read_specification("nist7×7")
    with pytest.raises(RequestError, match="does not exist"):
        read_specification("no-such-file.toml")
