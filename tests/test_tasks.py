"""Tasks: data sets against their definitions, costs against closed forms, wrong data refused."""

import gzip
import math
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import RequestError, make_task
from dither.tasks import (
    SERIES,
    TASKS,
    XOR,
    Arrays,
    Digits,
    FashionMNIST,
    NIST7x7,
    Parity,
    accuracy,
    cross_entropy,
    mse,
    smoothed_cross_entropy,
)
from dither.tasks.images import FILES, find_files, read_idx
from dither.tasks.scores import explained
from dither.testing import battery

RNG = np.random.default_rng(0)


def test_xor_is_its_truth_table():
    task = XOR().load()
    table = {tuple(x): int(t) for x, t in zip(np.asarray(task.inputs), np.asarray(task.targets))}
    assert table == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_parity_counts_ones(bits):
    task = Parity(bits=bits).load()
    inputs = np.asarray(task.inputs)
    assert len(np.unique(inputs, axis=0)) == len(inputs) == 2**bits
    assert np.array_equal(task.targets, inputs.sum(axis=1) % 2)
    assert np.array_equal(task.test_inputs, inputs)
    assert task.batch == 2**bits


def test_nist7x7_holds_every_image_of_up_to_two_flips():
    task = NIST7x7().load()
    images, labels = np.asarray(task.inputs), np.asarray(task.targets)
    assert images.shape == (4904, 49)
    assert set(np.unique(images)) == {0, 1}
    assert np.array_equal(np.bincount(labels), [1226] * 4)
    assert len(np.unique(images, axis=0)) == 4904
    # a letter's median image is the letter itself, since each pixel is flipped in few
    letters = np.array([np.median(images[labels == k], axis=0) for k in range(4)])
    flips = np.abs(images - letters[labels]).sum(axis=1)
    assert np.array_equal(np.bincount(flips.astype(int)), [4, 4 * 49, 4 * 49 * 48 // 2])
    tests, answers = np.asarray(task.test_inputs), np.asarray(task.test_targets)
    assert tests.shape == (1000, 49)
    assert np.all(np.abs(tests - letters[answers]).sum(axis=1) == 3)
    trained = {image.tobytes() for image in images}
    assert not any(image.tobytes() in trained for image in tests)


def test_nist7x7_tests_are_drawn_from_their_seed():
    one, same, other = (np.asarray(NIST7x7(tests=50, seed=s).load().test_inputs) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_digits():
    task = Digits().load()
    assert task.inputs.shape == (1438, 64)
    assert task.test_inputs.shape == (359, 64)
    assert float(task.inputs.min()) == 0
    assert float(task.inputs.max()) == 1
    # 178, 182, ... of each digit in the whole set, as the data set's own description says
    counts = np.bincount(np.concatenate([task.targets, task.test_targets]))
    assert list(counts) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


# --------------------------------------------------------------------------------- IDX files


def idx(array):
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(path, array):
    data = idx(array)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (0, 2, 2)])
def test_idx_files_are_read(tmp_path, shape, ending):
    array = RNG.integers(0, 256, shape).astype(np.uint8)
    write_idx(tmp_path / f"file{ending}", array)
    assert np.array_equal(read_idx(tmp_path / f"file{ending}"), array)


GOOD = idx(np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("short", GOOD[:-1], "has the wrong length"),
        ("long", GOOD + b"x", "has the wrong length"),
        ("head", GOOD[:9], "has the wrong length"),
        ("empty", b"", "not an IDX file"),
        ("magic", b"\0\1" + GOOD[2:], "not an IDX file"),
        ("floats", GOOD[:2] + b"\x0d" + GOOD[3:], "not an IDX file"),
        ("short.gz", gzip.compress(GOOD, mtime=0)[:-9], "cannot be read"),
        ("plain.gz", GOOD, "cannot be read"),
        ("bad.gz", gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 12, "cannot be read"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=sentence) as caught:
        read_idx(tmp_path / name)
    assert name in str(caught.value)


def put_files(folder, samples):
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(FILES):
        n = samples + (number >= 2)
        shape = (n,) if "labels" in file else (n, 28, 28)
        write_idx(folder / (file + (".gz" if number % 2 else "")), np.ones(shape))


def test_data_folders_are_searched_in_order(tmp_path, monkeypatch):
    """DITHER_DATA/NAME, DITHER_DATA, the user's cache, the packaged folder."""
    from dither.tasks import images

    cache, packaged, chosen = (tmp_path / name for name in ("cache", "packaged", "chosen"))
    monkeypatch.setattr(images, "PACKAGED", packaged)
    monkeypatch.setattr(images, "cache_folder", lambda name: cache / name)
    monkeypatch.delenv("DITHER_DATA", raising=False)
    assert find_files("fashion-mnist") is None
    for n, folder in enumerate([packaged / "fashion-mnist", cache / "fashion-mnist"], start=1):
        put_files(folder, n)
        assert len(FashionMNIST(batch="all").load().inputs) == n
    monkeypatch.setenv("DITHER_DATA", str(chosen))
    assert len(FashionMNIST(batch="all").load().inputs) == 2
    put_files(chosen, 3)
    assert len(FashionMNIST(batch="all").load().inputs) == 3
    put_files(chosen / "fashion-mnist", 4)
    task = FashionMNIST(batch="all").load()
    assert task.inputs.shape == (4, 28, 28)
    assert np.allclose(task.inputs, 1 / 255)
    assert len(task.test_inputs) == 5


def test_missing_files_say_how_to_get_them(tmp_path, monkeypatch):
    from dither.tasks import images

    monkeypatch.setattr(images, "PACKAGED", tmp_path)
    monkeypatch.setattr(images, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("DITHER_DATA", raising=False)
    with pytest.raises(RequestError, match="DITHER_DATA") as caught:
        FashionMNIST(offline=True).load()
    assert "dataset-fashion-mnist" in str(caught.value)


def test_real_fashion_mnist():
    if find_files("fashion-mnist") is None:
        pytest.skip("the Fashion-MNIST files are not on this machine")
    task = FashionMNIST().load()
    assert task.inputs.shape == (60000, 28, 28)
    assert np.array_equal(np.bincount(task.targets), [6000] * 10)
    assert np.array_equal(np.bincount(task.test_targets), [1000] * 10)
    # the data set's published mean and standard deviation
    pixels = np.asarray(task.inputs, float)
    assert pixels.mean() == pytest.approx(0.2860, abs=1e-4)
    assert pixels.std() == pytest.approx(0.3530, abs=1e-4)


# ------------------------------------------------------------------------------- own arrays

X, LABELS = RNG.standard_normal((10, 3)), RNG.integers(0, 2, 10)
LABELS[:2] = 0, 1


def with_nan(x):
    x = x.copy()
    x[3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"inputs": with_nan(X), "targets": LABELS}, "NaN or infinity"),
        ({"inputs": X, "targets": X * np.inf}, "NaN or infinity"),
        ({"inputs": X, "targets": LABELS - 1}, "label -1"),
        ({"inputs": X, "targets": LABELS, "test_inputs": X, "test_targets": LABELS + 1},
         "label 2"),
        ({"inputs": X, "targets": LABELS[:-1]}, "give equally many"),
        ({"inputs": X[:-2], "targets": LABELS}, "give equally many"),
        ({"inputs": X, "targets": LABELS, "test_inputs": X[:, :2], "test_targets": LABELS},
         "the same shape"),
        ({"inputs": X, "targets": X, "test_inputs": X, "test_targets": X[:, :2]}, "shape"),
        ({"inputs": X, "targets": LABELS, "test_inputs": X, "test_targets": X}, "labels"),
        ({"inputs": X, "targets": LABELS[:, None]}, "one label"),
        ({"inputs": X}, "no array 'targets'"),
        ({"targets": LABELS}, "no array 'inputs'"),
        ({"inputs": X[:0], "targets": LABELS[:0]}, "no samples"),
        ({"inputs": X[:1], "targets": LABELS[:1]}, "no samples"),
        ({"inputs": np.array("a"), "targets": LABELS}, "a single number"),
        ({"inputs": np.array([["a"]] * 10), "targets": LABELS}, "numbers"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused_in_one_sentence(tmp_path, arrays, sentence):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(RequestError, match=sentence) as caught:
        Arrays(file=tmp_path / "data.npz").load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["missing", "empty", "text", "cut", "npy"])
def test_wrong_files_are_refused_in_one_sentence(tmp_path, content):
    file = tmp_path / "data.npz"
    if content == "empty":
        file.write_bytes(b"")
    elif content == "text":
        file.write_text("x, y\n1, 2\n")
    elif content == "cut":
        np.savez(file, inputs=X, targets=LABELS)
        file.write_bytes(file.read_bytes()[:-40])
    elif content == "npy":
        with file.open("wb") as stream:
            np.save(stream, X)
    with pytest.raises(RequestError, match=r"data\.npz") as caught:
        Arrays(file=file).load()
    assert "\n" not in str(caught.value)


def test_a_share_of_the_samples_is_set_aside(tmp_path):
    inputs = np.arange(50.0)[:, None]
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=inputs**2)
    task = Arrays(file=tmp_path / "data.npz", test_share=0.3).load()
    train, test = np.asarray(task.inputs)[:, 0], np.asarray(task.test_inputs)[:, 0]
    assert len(test) == 15
    assert sorted([*train, *test]) == list(range(50))
    assert np.allclose(task.targets[:, 0], train**2)


def test_classes_are_found_from_the_labels():
    assert make_task(X, LABELS, X, LABELS).classes == ("0", "1")


# ---------------------------------------------------------------------------- costs and scores

Y = RNG.standard_normal((6, 4))
T = RNG.integers(0, 4, 6)


@pytest.mark.usefixtures("x64")
def test_mse_of_labels_is_against_one_hot_rows():
    assert np.allclose(mse(jnp.asarray(Y), jnp.asarray(T)), ((Y - np.eye(4)[T]) ** 2).mean(axis=1))
    one = Y[:, :1]
    bit = T % 2
    assert np.allclose(mse(jnp.asarray(one), jnp.asarray(bit)), (one[:, 0] - bit) ** 2)
    assert np.allclose(mse(jnp.asarray(Y), jnp.asarray(Y + 0.5)), 0.25)


@pytest.mark.usefixtures("x64")
def test_cross_entropy():
    wanted = np.log(np.exp(Y).sum(axis=1)) - Y[np.arange(6), T]
    assert np.allclose(cross_entropy(jnp.asarray(Y), jnp.asarray(T)), wanted)
    with pytest.raises(RequestError, match="integer class labels"):
        make_task(X, X, X, X, cost="cross_entropy")


@pytest.mark.usefixtures("x64")
def test_smoothed_cross_entropy():
    outputs, labels = jnp.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), jnp.array([2, 0])
    targets = np.array([[0.01, 0.01, 1.0], [1.0, 0.01, 0.01]])
    wanted = -np.sum(targets * np.asarray(jax.nn.log_softmax(outputs)), axis=1)
    assert np.allclose(smoothed_cross_entropy(outputs, labels), wanted, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_scores():
    right = np.mean(Y.argmax(axis=1) == T)
    assert float(accuracy(jnp.asarray(Y), jnp.asarray(T))) == pytest.approx(right)
    one, bit = Y[:, :1], T % 2
    right = np.mean((one[:, 0] > 0.5) == bit)
    assert float(accuracy(jnp.asarray(one), jnp.asarray(bit))) == pytest.approx(right)
    wanted = np.stack([Y[:, 0] + 3, 5 * Y[:, 1]], axis=1)
    nmse = np.mean((Y[:, :2] - wanted) ** 2) / np.mean((wanted - wanted.mean(axis=0)) ** 2)
    assert np.allclose(explained(jnp.asarray(Y[:, :2]), jnp.asarray(wanted)), 1 - nmse)


# ------------------------------------------------------------------------------------ batches


def test_batches_are_uniform_and_a_pure_function_of_key_and_draw():
    task = make_task(X, LABELS, X, LABELS, batch=4)
    key = jax.random.key(0)
    draws = jax.jit(jax.vmap(lambda d: task.sample(key, d)))(jnp.arange(5000))
    counts = np.bincount(np.asarray(draws).ravel(), minlength=10)
    # chi-square with 9 degrees of freedom: 9 + 5 √18
    chi2 = ((counts - 2000) ** 2 / 2000).sum()
    assert chi2 < 9 + 5 * math.sqrt(18)
    assert np.array_equal(task.sample(key, jnp.int32(7)), draws[7])
    assert not np.array_equal(task.sample(jax.random.key(1), jnp.int32(7)), draws[7])


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(RequestError, match="batch of 11 is larger than the 10 training samples"):
        make_task(X, LABELS, X, LABELS, batch=11)


def test_a_full_batch_holds_every_sample_in_order():
    task = make_task(X, LABELS, X, LABELS, batch=10)
    assert task.batch == 10
    assert np.array_equal(task.sample(jax.random.key(0), jnp.int32(3)), np.arange(10))


TestEveryTask = battery(
    *[
        cls(offline=True) if "offline" in cls.model_fields else cls
        for kind, cls in TASKS.items()
        if kind not in ("arrays", "csv")
    ]
)
TestEverySeries = battery(*[cls for kind, cls in SERIES.items() if kind != "series-file"])


def test_every_task_has_a_registered_kind():
    assert {cls.model_fields["kind"].default for cls in TASKS.values()} == set(TASKS)
