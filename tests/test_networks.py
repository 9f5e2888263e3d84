"""Networks against plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import CNN, MLP, SimulatedDevice
from dither.networks import NETWORKS, Mixer
from dither.networks.jax_function import JaxFunction
from dither.testing import battery

FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "sine": np.sin,
    "identity": lambda z: z,
}


def size(network):
    return SimulatedDevice(network=network).space.size


def drawn(network, seed=0):
    """Random values for every parameter, biases too."""
    rng = np.random.default_rng(seed)
    arrays = jax.eval_shape(network.init, jax.random.key(0))
    return {name: rng.standard_normal(a.shape) * 0.5 for name, a in arrays.items()}


def in_jax(arrays):
    return {name: jnp.asarray(a) for name, a in arrays.items()}


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (MLP(widths=(2, 2, 1)), 9),
        (MLP(widths=(49, 4, 4)), 220),
        (CNN(image=(28, 28, 1), channels=(16, 32, 32)), 14378),
        (CNN(image=(32, 32, 3), channels=(16, 32, 64)), 26154),
        # 272 k and 429 k in Ren2022 (recalled), with five norms of learned scale: 512 and 1024 each
        (Mixer(channels=256), 271_882 - 5 * 512),
        (Mixer(channels=512, groups=16), 429_066 - 5 * 1024),
    ],
)
def test_parameter_counts_of_the_papers_networks(network, parameters):
    assert size(network) == parameters


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.usefixtures("x64")
def test_mlp_is_dense_layers(activation):
    network = MLP(widths=(5, 4, 3, 2), activation=activation, output="sigmoid")
    theta = drawn(network)
    inputs = np.random.default_rng(1).standard_normal((6, 5))
    x = inputs
    for layer, f in enumerate([FUNCTIONS[activation]] * 2 + [FUNCTIONS["sigmoid"]]):
        W, b = theta[f"dense{layer}/weight"], theta[f"dense{layer}/bias"]
        z = np.array([[sum(r[i] * W[i, j] for i in range(len(r))) + b[j] for j in range(len(b))]
                      for r in x])  # fmt: skip
        x = f(z)
    assert np.allclose(network(in_jax(theta), jnp.asarray(inputs)), x, atol=1e-12)


def convolved(x, W, b):
    """Direct loops: 3×3, no padding."""
    h, w, _ = x.shape
    out = np.zeros((h - 2, w - 2, W.shape[3]))
    for i in range(h - 2):
        for j in range(w - 2):
            for q in range(W.shape[3]):
                out[i, j, q] = np.sum(x[i : i + 3, j : j + 3, :] * W[:, :, :, q]) + b[q]
    return out


def pooled(x):
    h, w, q = x.shape[0] // 2, x.shape[1] // 2, x.shape[2]
    return np.array([[[x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].max() for c in range(q)]
                      for j in range(w)] for i in range(h)])  # fmt: skip


@pytest.mark.usefixtures("x64")
def test_cnn_is_convolution_activation_pooling():
    network = CNN(image=(13, 12, 2), channels=(3, 4), classes=5, activation="relu")
    theta = drawn(network)
    inputs = np.random.default_rng(1).standard_normal((2, 13 * 12 * 2))
    outputs = np.asarray(network(in_jax(theta), jnp.asarray(inputs)))
    for row, wanted in zip(inputs.reshape(2, 13, 12, 2), outputs):
        x = row
        for stage in range(2):
            z = convolved(x, theta[f"conv{stage}/weight"], theta[f"conv{stage}/bias"])
            x = pooled(np.maximum(z, 0))
        y = x.reshape(-1) @ theta["dense/weight"] + theta["dense/bias"]
        assert np.allclose(wanted, y, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("p", [2, 9])
def test_a_convolution_and_its_derivatives_however_it_is_summed(p):
    # few channels are summed shift by shift, many at once, derivatives by matrix products
    network = CNN(image=(6, 5, p), channels=(3,), depth=2, padding="same", classes=2)
    layer, theta = network.layers[0], in_jax(drawn(network))
    rng = np.random.default_rng(2)
    x, e = rng.standard_normal((2, 6, 5, p)), rng.standard_normal((2, 6, 5, 3))
    kernel, bias = np.asarray(theta["conv0/weight"]), np.asarray(theta["conv0/bias"])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    wanted = np.stack([convolved(one, kernel, bias) for one in padded])
    found, back = jax.vjp(layer, theta, jnp.asarray(x))
    assert np.allclose(found, wanted, atol=1e-12)
    of_theta, of_x = back(jnp.asarray(e))
    # z is linear in each argument: a difference of any size is exact
    for name, slope in of_theta.items():
        moved = rng.standard_normal(slope.shape)
        change = layer(theta | {name: theta[name] + moved}, jnp.asarray(x)) - found
        assert jnp.vdot(change, e) == pytest.approx(float(jnp.vdot(slope, moved)), abs=1e-9)
    moved = rng.standard_normal(x.shape)
    change = layer(theta, jnp.asarray(x + moved)) - found
    assert jnp.vdot(change, e) == pytest.approx(float(jnp.vdot(of_x, moved)), abs=1e-9)


def test_glorot_bound_gain_and_bias():
    network = MLP(widths=(300, 200, 2), gain=1.5, bias=0.2)
    theta = network.init(jax.random.key(0))
    W = np.asarray(theta["dense0/weight"])
    bound = 1.5 * np.sqrt(6 / 500)
    assert np.abs(W).max() <= bound
    # uniform: variance bound²/3; relative standard error √(0.8 / 60 000) of a sample variance
    assert W.var() == pytest.approx(bound**2 / 3, rel=5 * np.sqrt(0.8 / W.size))
    b = np.asarray(theta["dense0/bias"])
    assert np.abs(b).max() <= 0.2
    assert np.abs(b).max() > 0.18
    assert not np.any(np.asarray(MLP(widths=(3, 2)).init(jax.random.key(0))["dense0/bias"]))


def test_sites_and_their_shapes():
    assert MLP(widths=(5, 4, 2)).sites() == {
        "dense0/x": (5,), "dense0/z": (4,), "dense0/a": (4,),
        "dense1/x": (4,), "dense1/z": (2,), "dense1/a": (2,),
    }  # fmt: skip
    assert CNN(image=(8, 8, 1), channels=(3,), classes=2).sites() == {
        "conv0/x": (8, 8, 1), "conv0/z": (6, 6, 3), "conv0/a": (6, 6, 3),
        "dense/x": (27,), "dense/z": (2,), "dense/a": (2,),
    }  # fmt: skip


@pytest.mark.parametrize("site", ["dense0/x", "dense0/z", "dense0/a", "dense1/z", "dense1/a"])
@pytest.mark.usefixtures("x64")
def test_a_tap_changes_what_goes_on(site):
    network = MLP(widths=(3, 4, 2), output="sigmoid")
    theta, x = drawn(network), np.random.default_rng(2).standard_normal((5, 3))
    shift = 0.3
    at = {site: shift}
    a0 = np.tanh((x + at.get("dense0/x", 0)) @ theta["dense0/weight"] + theta["dense0/bias"]
                 + at.get("dense0/z", 0)) + at.get("dense0/a", 0)  # fmt: skip
    z1 = a0 @ theta["dense1/weight"] + theta["dense1/bias"] + at.get("dense1/z", 0)
    wanted = 1 / (1 + np.exp(-z1)) + at.get("dense1/a", 0)
    tap = lambda name, value: value + shift if name == site else value  # noqa: E731
    assert np.allclose(network(in_jax(theta), jnp.asarray(x), tap), wanted, atol=1e-12)


MIXER = Mixer(image=(4, 6, 2), patches=2, channels=6, groups=3, blocks=2, classes=3)


@pytest.mark.usefixtures("x64")
def test_mixer_is_patches_and_groups_one_by_one():
    theta = drawn(MIXER)
    x = np.random.default_rng(1).standard_normal((5, 4, 6, 2))

    def norm(h):
        for g in range(3):
            own = h[..., 2 * g : 2 * g + 2]
            own -= own.mean(axis=-1, keepdims=True)
            own /= np.sqrt((own**2).mean(axis=-1, keepdims=True) + 1e-5)
        return h

    tiles = [x[:, i : i + 2, j : j + 3].reshape(5, -1) for i in (0, 2) for j in (0, 3)]
    h = np.stack(tiles, axis=1)
    for n in range(2):
        W, b = theta[f"mix{n}/weight"], theta[f"mix{n}/bias"]
        h = (norm(h.copy()) if n else h) @ W + b
        T, t = theta[f"tokens{n}/weight"][..., 0], theta[f"tokens{n}/bias"]
        normed = norm(h.copy())
        h = h + np.stack(
            [sum(T[q, p] * normed[:, q] for q in range(4)) + t[p] for p in range(4)], 1
        )
        V, inside, after = theta[f"channels{n}/weight"], np.maximum(norm(h.copy()), 0), h.copy()
        for g in range(3):
            own = slice(2 * g, 2 * g + 2)
            after[..., own] += inside[..., own] @ V[:, own]
        h = after + theta[f"channels{n}/bias"]
    y = norm(h.copy()).mean(axis=1) @ theta["readout/weight"] + theta["readout/bias"]
    assert np.allclose(MIXER(in_jax(theta), jnp.asarray(x)), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", MIXER.layers, ids=lambda layer: layer.name)
@pytest.mark.usefixtures("x64")
def test_a_mixers_layers_keep_apart_what_they_say(layer):
    """By the derivative of every z in every x: nothing from another patch or group."""
    x = np.random.default_rng(3).standard_normal(MIXER.sites()[f"{layer.name}/x"])
    theta = in_jax(drawn(MIXER))
    J = np.abs(jax.jacobian(lambda x: layer(theta, x[None])[0])(jnp.asarray(x))) > 1e-9
    if layer.name in ("mix0", "readout"):
        assert (layer.groups, layer.patchwise) == (1, False)
        return
    between_patches = J.any(axis=(1, 3))
    between_groups = J.any(axis=(0, 2)).reshape(3, 2, 3, 2).any(axis=(1, 3))
    assert np.array_equal(between_patches, np.eye(4) if layer.patchwise else np.ones((4, 4)))
    assert np.array_equal(between_groups, np.ones((3, 3)) if layer.groups == 1 else np.eye(3))
    assert layer.groups in (1, 3)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"patches": 3}, "3 patches per side do not divide"),
        ({"groups": 3}, "3 groups do not divide 256 channels"),
    ],
)
def test_a_mixer_that_does_not_divide_is_refused(settings, part):
    with pytest.raises(ValueError, match=part):
        Mixer(**settings)


def affine(theta, inputs):
    return inputs @ theta[:12].reshape(4, 3) + theta[12:]


TestEveryNetwork = battery(*NETWORKS.values())
TestOtherSettings = battery(JaxFunction(object=f"{__file__}:affine", parameters=15, input=4))


def test_a_cnn_that_does_not_fit_its_image_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        CNN(image=(8, 8, 1), channels=(2, 2, 2))
