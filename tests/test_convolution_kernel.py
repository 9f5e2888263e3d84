"""The kernel of convolutional networks, and passes that begin at the perturbed layer."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, SimulatedDevice
from dither._kernels import loaded
from dither.algorithms import LayerwiseMGD, NodePerturbation
from dither.devices.imperfections import ActivationDefects, CostNoise, Mismatch, OutputNoise
from dither.networks import sequence as by_kernel
from dither.networks.network import through
from dither.networks.sequence import sequence
from dither.training.fused import FusedLoop, measure_once, replica_axes

built = pytest.mark.skipif(not loaded(), reason="no kernels were built on this machine")

NETWORKS = {
    "same": CNN(image=(12, 12, 1), channels=(2, 4), depth=2, padding="same", dense=(6,),
                activation="tanh"),
    "valid": CNN(image=(11, 13, 3), channels=(5, 11), activation="relu"),
    "wide": CNN(image=(7, 20, 2), channels=(19,), depth=1, padding="same", activation="sigmoid"),
}  # fmt: skip


def drawn(network: CNN) -> tuple[dict[str, jax.Array], jax.Array]:
    parameters = network.init(jax.random.key(0))
    moved = {name: value + 0.05 for name, value in parameters.items()}
    return moved, jax.random.normal(jax.random.key(1), (9, *network.image))


@pytest.mark.quick("valid")
@built
@pytest.mark.parametrize("name", NETWORKS)
def test_the_kernel_agrees_with_the_layers_one_by_one(name: str) -> None:
    """To 2e-6 of the values or of one, from every layer on, with something added to its z."""
    network = NETWORKS[name]
    parameters, x = drawn(network)
    for n, layer in enumerate(network.layers):
        p = 0.3 * jax.random.normal(jax.random.key(n), layer.nodes)
        rest = network.layers[n:]

        def tap(site: str, value: jax.Array, name: str = layer.name, p: jax.Array = p) -> jax.Array:
            return value + p if site == f"{name}/z" else value

        np.testing.assert_allclose(
            sequence(rest, parameters, x, p),
            through(rest, parameters, x, tap),
            rtol=2e-6,
            atol=2e-6,
        )
        np.testing.assert_allclose(
            sequence([layer], parameters, x), onward := through([layer], parameters, x), 2e-6, 2e-6
        )
        x = onward


@built
def test_the_kernel_takes_replicas_and_not_a_number() -> None:
    network = NETWORKS["same"]
    parameters, x = drawn(network)
    several = {name: jnp.stack([value, 0.5 * value]) for name, value in parameters.items()}
    found = jax.vmap(lambda own: network(own, x))(several)
    for r in range(2):
        mine = {name: value[r] for name, value in several.items()}
        np.testing.assert_array_equal(found[r], network(mine, x))
    spoiled = network(parameters, x.at[0, 5, 5].set(jnp.nan))
    assert np.isnan(spoiled[0]).all()
    assert not np.isnan(spoiled[1:]).any()


@built
def test_derivatives_are_those_of_the_layers_one_by_one() -> None:
    network = CNN(image=(6, 6, 1), channels=(2,), padding="same", dense=(4,), activation="tanh")
    parameters, x = drawn(network)

    def cost(forward: Callable[..., jax.Array]) -> Any:
        gradient = jax.grad(lambda own: jnp.sum(jnp.sin(forward(network.layers, own, x))))
        return jax.jit(gradient)(parameters)

    jax.tree.map(np.testing.assert_array_equal, cost(sequence), cost(through))


@pytest.mark.long
@built
def test_other_types_are_computed_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["same"]
    parameters, x = drawn(network)
    monkeypatch.setattr(by_kernel, "_compiled", None)
    half = {name: value.astype(jnp.float16) for name, value in parameters.items()}
    assert network(half, x.astype(jnp.float16)).shape == (9, 10)


RULES: dict[str, Any] = {
    "weights": LayerwiseMGD(learning_rate=0.01, delta=0.01, tau_x=2, tau_theta=3),
    "weights, central": LayerwiseMGD(learning_rate=0.01, pairs="central", tau_x=2, tau_theta=4),
    "weights, auto": LayerwiseMGD(learning_rate="auto", delta=0.01, tau_theta=2),
    "neurons": NodePerturbation(learning_rate=0.003, layers="each", tau_theta=2),
    "neurons, each example": NodePerturbation(
        learning_rate=0.003, layers="each", per_example=True, pairs="central"
    ),
}
NETWORK = CNN(image=(8, 8, 1), channels=(2, 3), padding="same", dense=(4,), activation="tanh")


def task() -> Any:
    rng = np.random.default_rng(0)
    x, t = rng.random((40, 8, 8, 1)).astype("f4"), rng.integers(0, 10, 40)
    return dither.make_task(x, t, x, t, batch=5, cost="cross_entropy")


@eqx.filter_jit
def whole_passes(rule: Any, device: SimulatedDevice, task: Any, carry: Any, n: jax.Array) -> Any:
    return jax.lax.fori_loop(0, n, lambda _, now: measure_once(rule, device, task, now)[0], carry)


@pytest.mark.quick("neurons-True")
@pytest.mark.parametrize(
    ("name", "noisy"), [*((name, False) for name in RULES), ("weights", True), ("neurons", True)]
)
def test_a_pass_from_the_perturbed_layer_on_measures_what_a_whole_one_does(
    name: str, noisy: bool
) -> None:
    """The same ledger, and parameters that agree to rounding, which a rule's 1/delta enlarges."""
    noise = (OutputNoise(sigma=0.01), CostNoise(sigma=0.01)) if noisy else ()
    rule, device, data = RULES[name], SimulatedDevice(network=NETWORK, imperfections=noise), task()
    loop = FusedLoop(rule, device, data, [3])
    axes = replica_axes(loop.carry, device)
    one = jax.tree.map(lambda leaf, axis: leaf if axis is None else leaf[0], loop.carry, axes)
    assert rule.reference(one.algorithm) is not None
    before = loop.parameters()[0]
    after = whole_passes(rule, device, data, one, jnp.int32(150))
    for n in (7, 1, 1, 31, 110):
        loop.advance(n)
    found, wanted = loop.parameters()[0], rule.parameters(after.algorithm)
    moved = jnp.max(jnp.abs(wanted - before))
    assert moved > 1e-3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * moved)
    ledger, cost, _ = loop.account()
    assert ledger.measurements[0] == after.tally.measurements == 150
    assert ledger.writes[0] == after.tally.writes
    np.testing.assert_allclose(cost[0], after.tally.cost / 150, rtol=1e-4)


@pytest.mark.parametrize("name", ["weights", "neurons"])
def test_however_it_is_cut_a_run_is_the_same_bit_for_bit(name: str) -> None:
    device, data = SimulatedDevice(network=NETWORK), task()
    whole, cut = (FusedLoop(RULES[name], device, data, [3, 4]) for _ in range(2))
    whole.advance(60)
    for n in (7, 1, 1, 31, 20):
        cut.advance(n)
    np.testing.assert_array_equal(whole.parameters(), cut.parameters())


@pytest.mark.parametrize("inside", [ActivationDefects(sigma=0.1), Mismatch(gain=0.1)])
def test_nothing_is_shared_where_a_device_is_imperfect_inside(inside: Any) -> None:
    assert SimulatedDevice(network=NETWORK).in_layers == tuple(n.name for n in NETWORK.layers)
    assert SimulatedDevice(network=NETWORK, imperfections=(inside,)).in_layers == ()
