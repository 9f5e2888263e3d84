"""What probes share with their reference is computed once, and changes nothing."""

import jax
import numpy as np
import pytest

import dither
from dither import MLP, SimulatedDevice
from dither.algorithms import ALGORITHMS
from dither.algorithms.updates import Shuffled
from dither.devices.imperfections import ActivationDefects, FailedReads, Mismatch, OutputNoise
from dither.training.fit import problem_of
from dither.training.fused import FusedLoop

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(40, 6)).astype("f4"), RNG.integers(0, 3, 40)
TASK, WHOLE = (dither.make_task(X, T, X[:10], T[:10], batch=b, cost="mse") for b in (8, "all"))
NETWORK = MLP(widths=(6, 5, 3), activation="gelu")

RULES = {
    "baseline": ("node-perturbation", {}),
    "baseline kept": ("node-perturbation", {"tau_x": 4, "tau_theta": 2, "per_example": True}),
    "central": ("node-perturbation", {"pairs": "central", "tau_theta": 3}),
    "whitened": ("whitened-node-perturbation", {"sets": 2}),
    "decorrelated": ("decorrelated-node-perturbation", {}),
    "activities": ("activity-difference", {}),
    "whole training set": ("node-perturbation", {"tau_theta": 2}),
}


def trained(device, task, rule, replicas):
    """The parameters at the start and after 23 measurements, in two calls; the loop."""
    loop = FusedLoop(rule, device, task, list(range(replicas)))
    begun = np.asarray(loop.parameters())
    loop.advance(11)
    loop.advance(12)  # which begins with nothing kept
    return begun, np.asarray(loop.parameters()), loop


@pytest.mark.quick("baseline kept", "whitened")
@pytest.mark.parametrize(
    ("kind", "settings", "task", "replicas"),
    [
        (*rule, WHOLE if name.startswith("whole") else TASK, 2 - number % 2)
        for number, (name, rule) in enumerate(RULES.items())
    ],
    ids=RULES,
)
def test_the_first_product_is_computed_once_and_changes_nothing(
    kind, settings, task, replicas, monkeypatch
):
    device = SimulatedDevice(network=NETWORK, imperfections=(OutputNoise(sigma=1e-3),))
    # a setting that changes nothing keeps the two programs apart
    unshared = device.model_copy(update={"seconds_per_write": 1.0})
    rule, seen, first_z = ALGORITHMS[kind](learning_rate=0.02, **settings), [], device.first_z
    monkeypatch.setattr(SimulatedDevice, "first_z", lambda _, *of: seen.append(of) or first_z(*of))
    begun, shared, loop = trained(device, task, rule, replicas)
    assert seen
    assert loop.account()[0].measurements.tolist() == [23] * replicas
    monkeypatch.setattr(SimulatedDevice, "shares_z", False)
    alone = trained(unshared, task, rule, replicas)[1]
    assert np.abs(shared - alone).max() < 1e-3 * np.abs(alone - begun).max()


def test_nothing_is_shared_where_a_pass_may_differ_from_its_reference():
    sound = SimulatedDevice(network=NETWORK)
    assert sound.shares_z
    for inside in (Mismatch(), ActivationDefects(sigma=0.1), FailedReads(probability=0.1)):
        assert not SimulatedDevice(network=NETWORK, imperfections=(inside,)).shares_z
    problem = problem_of(sound, TASK)
    shuffled = {"learning_rate": 0.1, "update": Shuffled(batches=4)}
    for kind, settings in (
        ("node-perturbation", {"learning_rate": "auto"}),
        ("node-perturbation", shuffled),
        ("layerwise-mgd", shuffled),
    ):
        rule = ALGORITHMS[kind](**settings)
        theta = sound.initial(jax.random.key(1))
        assert rule.reference(rule.init(jax.random.key(0), theta, problem)) is None
