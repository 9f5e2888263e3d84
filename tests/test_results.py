"""A result in hand: confusion, names, figures, notebooks, the rate in use, and starting from it."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import optax
import pandas as pd
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice, Until, WeightMGD
from dither.tasks import XOR, NIST7x7
from dither.training import notebook

CHIP = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
LETTERS = SimulatedDevice(
    network=MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid"),
    imperfections=[{"kind": "mismatch", "gain": 0.3}],
)
RULE = WeightMGD(learning_rate=0.2, delta=0.01)


def train(device=CHIP, task=None, rule=RULE, measurements=400, **more):
    return dither.train(
        device, task or XOR(), rule, until=Until(measurements=measurements), **more
    )  # fmt: skip


class Line:
    """A device in Python: one output, `θ · (x, 1)`."""

    parameters = 3

    def write(self, theta):
        self.theta = np.asarray(theta, float)

    def measure(self, inputs):
        return (np.asarray(inputs) @ self.theta[:2] + self.theta[2])[:, None]


# --------------------------------------------------------------------------- classes, parameters


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "letters"
    return train(LETTERS, NIST7x7(), measurements=20_000, replicas=2, out=out, name="letters")


def test_the_confusion_matrix_counts_each_sample_once(letters):
    task = NIST7x7().load()
    true = np.asarray(task.test_targets)
    for result in (letters, dither.load_run(letters.out)):
        for replica in (0, 1):
            found = result.confusion(replica=replica)
            told = np.argmax(result.predict(task.test_inputs, replica), axis=1)
            expected = pd.crosstab(true, told).reindex(
                index=range(4), columns=range(4), fill_value=0
            )
            np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
            assert list(found.index) == list(found.columns) == list(task.classes)
            share = np.trace(found.to_numpy()) / len(true)
            assert share == pytest.approx(result.replicas[replica].score)


def test_a_confusion_of_given_samples_and_names(letters):
    task = NIST7x7().load()
    rows, labels = np.asarray(task.test_inputs)[:40], np.asarray(task.test_targets)[:40]
    numbers = letters.confusion(rows, labels)
    names = letters.confusion(rows.tolist(), [task.classes[k] for k in labels])
    pd.testing.assert_frame_equal(numbers, names)
    assert numbers.to_numpy().sum(axis=1).tolist() == np.bincount(labels, minlength=4).tolist()


def test_one_output_tells_two_classes(tmp_path):
    inputs = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    task = dither.make_task(inputs, [0, 0, 1, 1], inputs, [0, 0, 1, 1], classes=("dark", "light"))
    result = train(Line(), task, out=tmp_path / "run")
    told = result.predict(inputs)[:, 0] > 0.5
    found = result.confusion()
    assert found.loc["light", "light"] == told[2:].sum()
    assert found.loc["dark", "light"] == told[:2].sum()
    again = dither.load_run(tmp_path / "run", Line())
    with pytest.raises(RequestError, match=r"give inputs and labels"):
        again.confusion()
    np.testing.assert_array_equal(again.confusion(inputs, [0, 0, 1, 1]), found)


@pytest.mark.parametrize(
    ("inputs", "labels", "sentence"),
    [
        (np.zeros((2, 49)), None, "give both or neither"),
        (np.zeros((2, 49)), [0, 1, 2], "There are 2 inputs but 3 labels"),
        (np.zeros((2, 49)), [0, 4], "There is no class 4; the labels number the classes from 0 to"),
        (np.zeros((2, 49)), [0, -1], "There is no class -1"),
        (np.zeros((2, 49)), [0.5, 1], "not whole numbers"),
        (np.zeros((2, 49)), ["N", "Z"], "There is no class 'Z'"),
        (np.zeros((0, 49)), [], "hold no samples"),
        (np.zeros((2, 5)), [0, 1], "do not fit the device"),
    ],
)
def test_what_cannot_be_confused_is_told_in_a_sentence(letters, inputs, labels, sentence):
    with pytest.raises(RequestError, match=re.escape(sentence)) as caught:
        letters.confusion(inputs, labels)
    assert "\n" not in str(caught.value)


def test_values_are_no_classes():
    inputs, targets = np.array([[0.0, 1], [1, 0]]), np.array([[0.5], [0.2]])
    result = train(task=dither.make_task(inputs, targets, inputs, targets))
    with pytest.raises(RequestError, match="values, not classes"):
        result.confusion()


def test_parameters_by_name_have_their_shapes(letters):
    for result in (letters, dither.load_run(letters.out)):
        named = result.named(replica=1)
        assert list(named) == [p.name for p in result.space.parameters]
        flat = np.concatenate([array.reshape(-1) for array in named.values()])
        np.testing.assert_array_equal(flat, result.parameters[1])
        assert {array.shape for array in named.values()} == {(49, 4), (4,), (4, 4)}
    with pytest.raises(RequestError, match="replica 2 does not exist"):
        letters.named(2)


def test_a_run_with_a_task_from_python_is_read_again(tmp_path):
    x, y = np.array([[0.0, 0], [1, 1]]), [0, 1]
    result = train(task=dither.make_task(x, y, x, y), out=tmp_path / "run")
    again = dither.load_run(tmp_path / "run")
    np.testing.assert_allclose(again.predict(x), result.predict(x))


# ------------------------------------------------------------------------------- figures and HTML


def test_a_result_is_plotted_into_given_axes_and_into_a_figure_of_its_own(letters):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots()
    assert letters.plot(axes) is axes
    expected = letters.history.pivot_table(index="measurements", columns="replica", values="score")
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == len(expected)]
    for replica in (0, 1):
        assert any(np.allclose(line, expected[replica]) for line in drawn)
    own = letters.plot()
    assert own.figure is not figure
    assert len(own.figure.axes) == 2
    assert pyplot.fignum_exists(own.figure.number)
    pyplot.close("all")


class Parts(HTMLParser):
    """The text of a page's table cells, and its pictures."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.pictures, self.scripts = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag in ("th", "td"):
            self.cells.append("")
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        self.scripts += tag == "script"

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data

    def table(self):
        return dict(zip(self.cells[::2], self.cells[1::2]))


def test_a_result_in_a_notebook_says_what_it_came_to(letters):
    page = Parts(letters._repr_html_())
    said = page.table()
    assert said["accuracy"].startswith(f"{letters.score:.4g}")
    assert said["stopped by"] == "measurements"
    assert said["measurements of the longest replica"] == "20 000"
    assert said["writes"] == "20 000"
    assert "energy" not in said  # it is not known
    assert "time on the device" not in said
    (picture,) = page.pictures
    data = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG")


def test_energy_and_time_are_told_where_they_are_known():
    priced = CHIP.model_copy(
        update={"seconds_per_measurement": 1e-3, "joules_per_measurement": 2e-6}
    )
    said = Parts(train(priced, measurements=500)._repr_html_()).table()
    assert said["time on the device"] == "0.5 s"
    assert said["energy"] == "0.001 J"


def test_what_users_write_is_text_in_a_notebook():
    result = train(name="<script>alert(1)</script>$")
    assert Parts(result._repr_html_()).scripts == 0


# -------------------------------------------------------------------------- progress in a notebook


def test_no_notebook_is_seen_where_there_is_none(tmp_path):
    assert not notebook.in_notebook()
    code = (
        "import sys, dither\n"
        "from dither.training.notebook import in_notebook\n"
        "assert not in_notebook()\n"
        "assert 'IPython' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)


CELLS = (
    """
    import dither
    from dither import MLP, SimulatedDevice, Until, WeightMGD
    from dither.tasks import XOR
    from dither.training import notebook
    notebook.EVERY, notebook.SHARE = 0.0, 1.0
    chip = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
    rule = WeightMGD(learning_rate=0.2, delta=0.01)
    result = dither.train(chip, XOR(), rule, until=Until(wall_seconds=6.0), score_every=200)
    """,
    "result",
    "axes = result.plot()",
    "result.confusion()",
)


def test_a_notebook_shows_a_bar_a_curve_and_the_result(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(re.sub(r"(?m)^ {4}", "", cell).strip()) for cell in CELLS]
    book = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(book, timeout=120, kernel_name="python3")
    seen = []
    client.on_cell_executed = None
    hooked = client.process_message

    def process(message, *rest):
        if message["msg_type"] in ("display_data", "update_display_data"):
            seen.append(message["content"]["data"].get("text/html", ""))
        return hooked(message, *rest)

    client.process_message = process
    client.execute(cwd=str(tmp_path))
    training, shown, plotted, confused = book.cells
    bars = [page for page in seen if "<progress" in page]
    assert len(bars) > 2
    assert any("data:image/png;base64" in page for page in bars)
    (kept,) = [one for one in training.outputs if one.output_type == "display_data"]
    assert "stopped by: wall seconds" in kept["data"]["text/html"]
    assert "<table>" in shown.outputs[0]["data"]["text/html"]
    assert any("image/png" in one.get("data", {}) for one in plotted.outputs)
    assert "true class" in confused.outputs[0]["data"]["text/html"]


def test_a_display_that_fails_stops_no_run(monkeypatch):
    class Broken:
        kernel = None

    class IPython:
        @staticmethod
        def get_ipython():
            return Broken()

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    monkeypatch.setattr(notebook, "EVERY", 0.0)
    assert notebook.in_notebook()
    assert train().stop_reason == "measurements"


# ------------------------------------------------------------------------------ the rate in use


def test_a_rate_that_is_given_is_the_rate_in_use():
    result = train()
    np.testing.assert_allclose(result.history["learning_rate"], 0.2)
    assert result.learning_rate == pytest.approx(0.2)
    assert result.summary()["learning_rate"] == pytest.approx(0.2)


def test_a_schedule_is_in_the_rate():
    schedule = {"name": "cosine_decay_schedule", "settings": {"decay_steps": 100}}
    rule = WeightMGD(learning_rate=0.2, delta=0.01, optimizer={"name": "sgd", "schedule": schedule})
    result = train(rule=rule, task=XOR(batch=1), measurements=160, score_every=40)
    updates = result.history["measurements"].to_numpy() // 2  # a reference and a perturbation each
    factor = optax.schedules.cosine_decay_schedule(1.0, 100)
    np.testing.assert_allclose(
        result.history["learning_rate"], 0.2 * np.array([factor(n) for n in updates]), rtol=1e-5
    )


def test_the_rate_that_auto_found_moved_the_parameters(tmp_path):
    """Along one parameter, `θ ← θ − eta G`: the change of θ over an update gives eta."""
    rule = WeightMGD(learning_rate="auto", delta=0.01)
    result = train(rule=rule, measurements=4000, score_every=500, replicas=3, out=tmp_path / "run")
    rates = result.history["learning_rate"]
    assert (rates > 0).all()
    assert rates.nunique() > 3
    for number, replica in enumerate(result.replicas):
        mine = result.history[result.history["replica"] == number]
        assert replica.learning_rate == mine["learning_rate"].iloc[-1]
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told["learning_rate"] == np.median([r.learning_rate for r in result.replicas])
    assert dither.load_run(tmp_path / "run").learning_rate == told["learning_rate"]
    svg = (tmp_path / "run" / "figure.svg").read_text()
    assert f"last learning rate {told['learning_rate']:.3g}" in svg


# -------------------------------------------------------------------- starting from another run


def test_a_run_starts_from_anothers_parameters_with_a_ledger_of_its_own(tmp_path):
    first = train(replicas=3, out=tmp_path / "first")
    still = WeightMGD(learning_rate=0.0, delta=0.01)
    out = tmp_path / "then"
    then = train(rule=still, replicas=3, start_from=first, out=out, measurements=100)
    np.testing.assert_allclose(then.parameters, first.parameters, atol=0.011)
    assert then.ledger["measurements"] == 100
    assert then.start_from == then.summary()["start_from"] == str(tmp_path / "first")
    assert dither.load_run(out).start_from == str(tmp_path / "first")
    again = dither.read_specification(str(out)).train()  # which knows the folder's name alone
    np.testing.assert_array_equal(again.parameters, then.parameters)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5)])
def test_replica_r_starts_from_replica_r_mod_R(before, after):
    first = train(replicas=3)
    first = replace(first, parameters=first.parameters[:before])
    still = WeightMGD(learning_rate=0.0, delta=0.01)
    then = train(rule=still, replicas=after, start_from=first, measurements=10)
    expected = first.parameters[[r % before for r in range(after)]]
    np.testing.assert_allclose(then.parameters, expected, atol=0.011)


@pytest.mark.long
def test_a_python_device_starts_from_another_run():
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    task = dither.make_task(x, x @ [[1.0], [2]], x, x @ [[1.0], [2]])
    first = train(Line(), task, measurements=3000)
    then = train(Line(), task, WeightMGD(learning_rate=0.0, delta=0.01), start_from=first)
    np.testing.assert_allclose(then.parameters, first.parameters, atol=1e-6)
    assert then.score == pytest.approx(first.score, abs=1e-5)


def test_what_is_outside_the_bounds_is_told():
    first = train()
    low, high = np.sort(np.abs(first.parameters[0]))[[0, -1]]
    bound = float((low + high) / 2)
    bounds = {"kind": "bounds", "low": -bound, "high": bound}
    narrow = SimulatedDevice(network=CHIP.network, imperfections=[bounds])
    outside = int((np.abs(first.parameters[0]) > bound).sum())
    with pytest.warns(dither.TrapWarning, match=f"{outside} of the 9 parameters"):
        train(narrow, start_from=first)


def test_a_killed_run_goes_on_without_the_run_it_came_from(tmp_path):
    first = train(out=tmp_path / "first")
    begun = {"start_from": tmp_path / "first", "out": tmp_path / "then", "score_every": 50}
    whole = train(measurements=400, start_from=first, score_every=50)
    train(measurements=200, **begun)
    (tmp_path / "first").rename(tmp_path / "gone")
    then = train(measurements=400, resume=True, **begun)
    np.testing.assert_array_equal(then.parameters, whole.parameters)
    with pytest.raises(RequestError, match="start_from differs"):
        train(out=tmp_path / "then", score_every=50, resume=True)


def test_what_cannot_be_started_from_is_told_in_a_sentence(tmp_path):
    first = train(out=tmp_path / "first")
    wide = SimulatedDevice(network=MLP(widths=(2, 3, 1)))
    with pytest.raises(RequestError) as caught:
        train(wide, start_from=tmp_path / "first", out=tmp_path / "new")
    assert "2 × 2" in str(caught.value)
    assert "2 × 3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    with pytest.raises(RequestError, match="holds no run to start from"):
        train(start_from=tmp_path)
    with pytest.raises(RequestError, match="not a int"):
        train(start_from=3)
    (tmp_path / "first" / "parameters.npz").write_bytes(b"none")
    with pytest.raises(RequestError, match="has changed since it was written"):
        train(start_from=tmp_path / "first")
    (tmp_path / "first" / "parameters.npz").unlink()
    with pytest.raises(RequestError, match="not finished"):
        train(start_from=tmp_path / "first")
    spoilt = first.parameters.copy()
    spoilt[0, 0] = np.nan
    with pytest.raises(RequestError, match="Replica 0 of that result"):
        train(start_from=replace(first, parameters=spoilt))


def test_the_shell_starts_from_a_run(tmp_path):
    few = ["--set", "until.measurements=200", "--set", "until.score=1.0", "--replicas", "2"]

    def shell(*words):
        return subprocess.run(
            [sys.executable, "-m", "dither.cli", "train", "xor", *few, *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    assert shell("--out", "a").returncode == 0
    done = shell("--out", "b", "--from", "a", "--set", "algorithm.learning_rate=0.01")
    assert done.returncode == 0, done.stderr
    assert f"started from: {tmp_path / 'a'} (its measurements are not counted here)" in done.stdout
    told = json.loads((tmp_path / "b" / "result.json").read_text())
    assert told["start_from"] == str(tmp_path / "a")
    assert told["ledger"]["measurements"] == 200
    refused = shell("--out", "c", "--from", "nothing")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.long
def test_a_studys_runs_start_from_a_run(tmp_path):
    from dither.studies import Study, run_study

    first = train(out=tmp_path / "first", replicas=2)
    study = Study(
        base={
            "task": {"kind": "xor"}, "device": CHIP.model_dump(mode="json"),
            "algorithm": {"kind": "weight-mgd", "learning_rate": 0.0, "delta": 0.01},
            "until": {"measurements": 50}, "start_from": str(tmp_path / "first"),
        },
        axes={"algorithm.delta": [0.01, 0.02]},
        seeds=2,
    )  # fmt: skip
    table = run_study(study, tmp_path / "study")
    np.testing.assert_allclose(table["test_cost"], first.replicas[0].test_cost, rtol=0.2)


def test_a_png_is_one(letters):
    pillow = pytest.importorskip("PIL.Image")
    (picture,) = Parts(letters._repr_html_()).pictures
    shown = pillow.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
    assert shown.size == (1600, 640)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.zeros((0, 49)), "The inputs hold no samples; give one row per sample."),
        (np.zeros((2, 5)), "whose network takes (49,)"),
        (np.zeros(49), "whose network takes (49,)"),
    ],
)
def test_inputs_that_do_not_fit_are_told_without_the_words_of_jax(letters, inputs, sentence):
    with pytest.raises(RequestError, match=re.escape(sentence)) as caught:
        letters.predict(inputs)
    assert "Error" not in str(caught.value)


def test_a_device_of_another_number_of_parameters_is_not_written_to(letters):
    line = Line()
    other = dither.load_run(letters.out, line)
    before = vars(line).copy()
    with pytest.raises(RequestError, match=r"The run has 220 parameters, but the device 3; give"):
        other.predict(np.zeros((2, 49)))
    assert vars(line) == before


@pytest.mark.parametrize(("old", "new"), [('"mlp"', '"mlpp"'), ("[49, 4, 4]", '"wide"')])
def test_a_part_that_is_not_known_is_told_with_its_place(letters, tmp_path, old, new):
    folder = shutil.copytree(letters.out, tmp_path / "run")
    text = (folder / "spec.toml").read_text().partition("\n")[2]
    assert old in text
    (folder / "spec.toml").write_text(text.replace(old, new))
    with pytest.raises(RequestError, match=r"device.network.* in .*spec.toml") as caught:
        dither.load_run(folder)
    assert "Value error" not in str(caught.value)
    assert "?." not in str(caught.value)
