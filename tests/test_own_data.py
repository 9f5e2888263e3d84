"""Training on a user's own data: tables, arrays, frames and datasets, as people have them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import dither
from dither import RequestError, make_task
from dither._raised import told
from dither.cli import app
from dither.tasks import Arrays, CSVFile
from dither.tasks.set_aside import set_aside
from dither.testing import battery

SPECIES = ("setosa", "versicolor", "virginica")
FLOWERS = pd.DataFrame(
    {
        "length": np.arange(60) / 8,
        "width": np.arange(60)[::-1] / 4,
        "species": [SPECIES[i % 3] for i in range(60)],
    }
)
RULE = dither.WeightMGD(learning_rate=0.2, delta=0.05)
SHORT = dither.Until(measurements=200)


class Chip:
    """Two inputs, three outputs."""

    parameters = 6

    def write(self, theta):
        self.weights = theta.reshape(2, 3)

    def measure(self, inputs):
        return inputs @ self.weights


@pytest.fixture(autouse=True)
def cores_as_they_are(monkeypatch):
    """JAX is in use already, and then takes no more devices."""
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)


@pytest.fixture
def written(tmp_path):
    """Write a table to a file; give its task."""

    def write(text, name="own.csv", encoding="utf-8", **settings):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return CSVFile(file=tmp_path / name, **settings)

    return write


def rows(task):
    """All samples of a task in the order of their first input, and what each is."""
    x = np.concatenate([task.inputs, task.test_inputs])
    t = np.concatenate([task.targets, task.test_targets])
    order = np.argsort(x[:, 0])
    return x[order], t[order]


# ------------------------------------------------------------------------- how tables are written

COMMA = FLOWERS.to_csv(index=False)
DATA_ONLY = FLOWERS.to_csv(index=False, header=False)


@pytest.mark.parametrize(
    ("text", "how", "columns"),
    [
        (COMMA, {}, ("length", "width")),
        (DATA_ONLY, {}, ()),
        (FLOWERS.to_csv(), {}, ("length", "width")),  # pandas' own first column counts the rows
        (FLOWERS.to_csv(index=False, sep=";", decimal=","), {}, ("length", "width")),
        (FLOWERS.to_csv(index=False, sep=";"), {}, ("length", "width")),
        (FLOWERS.to_csv(index=False, sep="\t", decimal=","), {}, ("length", "width")),
        (FLOWERS.to_csv(index=False, quoting=1), {}, ("length", "width")),
        (COMMA.replace("\n", "\r\n"), {}, ("length", "width")),
        ("# spectrometer 3\n\n" + COMMA, {}, ("length", "width")),
        ("\ufeff" + COMMA, {}, ("length", "width")),
        (COMMA.replace("length", "Länge"), {"encoding": "cp1252"}, ("Länge", "width")),
        (COMMA.replace("length", "Länge"), {"encoding": "utf-16"}, ("Länge", "width")),
        (FLOWERS[["species", "length", "width"]].to_csv(index=False), {"label": "species"},
         ("length", "width")),
        (FLOWERS[["species", "length", "width"]].to_csv(index=False, header=False), {"label": 0},
         ()),
        (COMMA.replace("length,width", "400,410"), {"header": True}, ("400", "410")),
    ],
)  # fmt: skip
def test_a_table_is_read_however_it_is_written(written, text, how, columns):
    task = written(text, **how).load()
    x, t = rows(task)
    np.testing.assert_allclose(x, FLOWERS[["length", "width"]], rtol=1e-6)
    assert [task.classes[k] for k in t] == list(FLOWERS["species"])
    assert task.classes == SPECIES
    assert task.columns == columns


def test_columns_are_chosen_by_name_and_by_number(written):
    for inputs in (("width",), (1,)):
        x, _ = rows(written(COMMA, inputs=inputs).load())
        np.testing.assert_allclose(x[:, 0], np.sort(FLOWERS["width"]))


@pytest.mark.parametrize("labels", [["1", "2", "10"], ["-1", "1"], ["True", "False"], ["0", "7"]])
def test_labels_of_any_numbers_are_classes_named_by_them(written, labels):
    said = [labels[i % len(labels)] for i in range(12)]
    task = written("x,y\n" + "".join(f"{i},{one}\n" for i, one in enumerate(said))).load()
    assert [task.classes[k] for k in rows(task)[1]] == said
    numbers = [one for one in labels if one not in ("True", "False")]
    assert list(task.classes) == sorted(labels, key=float if numbers else str)


@pytest.mark.parametrize(("cells", "values"), [("1.5 2.5 3.0 7.25", False), ("20 30 70 90", True)])
def test_labels_with_a_point_are_values_to_reach(written, cells, values):
    text = "x,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells.split()))
    task = written(text, values=values).load()
    assert (task.score_name, task.outputs) == ("1 - NMSE", (1,))
    np.testing.assert_allclose(rows(task)[1][:, 0], [float(cell) for cell in cells.split()])


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (COMMA.replace("0.125", "n/a", 1), {}, "'length' of .*'n/a' in line 3"),
        (COMMA.replace("0.125", "", 1), {}, "'length' of .* holds nothing in line 3"),
        ("\n# a\n" + COMMA.replace("0.125", "1,3"), {}, "Row 3 .* 4 columns, but the first has 3"),
        (COMMA + "1,2,3,4\n", {}, "line 62|Expected 3"),
        (COMMA + "1,2\n", {}, "no label in line 62"),
        (COMMA.replace("0.125", "nan"), {}, "NaN or infinity"),
        (COMMA.replace("0.125", "1e999"), {}, "NaN or infinity"),
        (COMMA.replace("length,width", "400,410"), {}, "may be a header.*set header to"),
        (COMMA, {"label": "specie"}, "did you mean species"),
        (COMMA, {"label": 3}, "3 columns, 0 to 2, but no column 3"),
        (DATA_ONLY, {"label": "species"}, "does not name its columns"),
        (COMMA, {"inputs": ("length", "species")}, "'species' .* is both an input and the label"),
        (COMMA, {"label": "length", "inputs": ("species",)}, "'species' of .* holds 'setosa'"),
        (COMMA, {"values": True}, "are text, such as 'setosa'"),
        (COMMA.replace("width", "length"), {}, "Two columns .* 'length'"),
        (FLOWERS.assign(species=range(60)).to_csv(index=False), {}, "60 different values"),
        ("length,width,species\n1,2,a\n3,4,b\n", {}, "no class has two"),
        ("", {}, "holds no table"), ("\n\n", {}, "holds no table"), ("1\n2\n", {}, "one column"),
        ("PK\0\0", {}, "is not text"),
        ("0,512345,0,048576\n0,412345,0,148576\n", {}, "read as decimal commas"),
        ("0,512345,0,048576,a\n0,412345,0,148576,a\n", {}, "read as decimal commas"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(written, text, settings, words):
    with pytest.raises(RequestError, match=words) as caught:
        written(text, **settings).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", [1.5, True, -1, None, [0]])
def test_what_names_no_column_is_told(column):
    with pytest.raises(ValueError, match=r"a column's name, or its number from 0|must be a number"):
        CSVFile(file="own.csv", inputs=(column,))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(RequestError, match=r"none\.csv does not exist"):
        CSVFile(file=tmp_path / "none.csv").load()


# --------------------------------------------------------------------------- what is set aside


def test_each_class_gives_its_share_for_the_test():
    labels = np.repeat(np.arange(4), [50, 20, 2, 1])
    train, test = set_aside(labels, 0.2, 3)
    assert np.bincount(labels[test], minlength=4).tolist() == [10, 4, 1, 0]
    assert sorted([*train, *test]) == list(range(73))
    assert np.array_equal(test, set_aside(labels, 0.2, 3)[1])
    assert not np.array_equal(test, set_aside(labels, 0.2, 4)[1])
    assert len(set_aside(np.zeros((10, 2)), 0.25, 0)[1]) == round(0.25 * 10)
    assert len(set_aside(np.zeros((2, 2)), 0.9, 0)[1]) == 1


def test_a_file_to_test_with_is_taken_as_it_is(written, tmp_path):
    FLOWERS[["species", "width", "length"]].iloc[:7].to_csv(tmp_path / "test.csv", index=False)
    task = written(COMMA, label="species", test_file=tmp_path / "test.csv").load()
    assert (len(task.inputs), len(task.test_inputs)) == (60, 7)
    np.testing.assert_allclose(task.test_inputs, FLOWERS[["length", "width"]].iloc[:7])
    FLOWERS[["length", "species"]].to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(RequestError, match="no column 'width', which is an input"):
        written(COMMA, label="species", test_file=tmp_path / "test.csv").load()


@pytest.mark.parametrize("scale", ["minmax", "standard"])
def test_inputs_are_scaled_as_the_training_samples_say(written, tmp_path, scale):
    settings = written(COMMA, scale=scale)
    task, raw = settings.load(), written(COMMA).load()
    x = np.asarray(raw.inputs, float)
    shift, width = (x.min(0), np.ptp(x, 0)) if scale == "minmax" else (x.mean(0), x.std(0))
    np.testing.assert_allclose(task.inputs, (x - shift) / width, atol=1e-5)
    expected = (np.asarray(raw.test_inputs) - shift) / width
    held = np.clip(expected, 0, 1) if scale == "minmax" else expected
    np.testing.assert_allclose(task.test_inputs, held, atol=1e-5)
    pd.DataFrame({"note": "a", "width": [2.0], "length": [1.0]}).to_csv(tmp_path / "new.csv")
    new = settings.inputs_of(tmp_path / "new.csv")
    np.testing.assert_allclose(new, (np.array([[1.0, 2.0]]) - shift) / width, atol=1e-5)


# --------------------------------------------------------------- arrays, frames, datasets in Python


class Pairs:
    """A dataset as torch's are: a length, and a pair of input and target by index."""

    classes = SPECIES

    def __len__(self):
        return len(FLOWERS)

    def __getitem__(self, k):
        return FLOWERS[["length", "width"]].to_numpy()[k], k % 3


def tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.tensor(FLOWERS[["length", "width"]].to_numpy(), requires_grad=True)
    return torch.utils.data.TensorDataset(x, torch.arange(60) % 3)


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (lambda: (FLOWERS, "species"), SPECIES),
        (lambda: (FLOWERS.astype({"species": "category"}), "species"), SPECIES),
        (lambda: (FLOWERS[["length", "width"]], FLOWERS["species"]), SPECIES),
        (lambda: (FLOWERS[["length", "width"]].to_numpy(), list(FLOWERS["species"])), SPECIES),
        (lambda: (FLOWERS[["length", "width"]].to_numpy().tolist(), np.arange(60) % 3),
         ("0", "1", "2")),
        (lambda: (Pairs(),), SPECIES),
        (lambda: (tensors(),), ("0", "1", "2")),
    ],
)  # fmt: skip
def test_data_in_memory_is_taken_as_people_have_it(given, classes):
    whole = given()
    drawn = make_task(*whole)
    assert (len(drawn.inputs), len(drawn.test_inputs)) == (48, 12)
    x, t = rows(drawn)
    np.testing.assert_allclose(x, FLOWERS[["length", "width"]])
    assert (drawn.classes, t.tolist()) == (classes, [k % 3 for k in range(60)])
    # a test set of one's own
    both = make_task(*whole, *([None] * (2 - len(whole))), *whole)
    assert np.array_equal(both.inputs, both.test_inputs)
    assert len(both.test_inputs) == 60


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((FLOWERS,), r"have no targets; give targets, such as make_task\(frame, 'species'\)"),
        ((FLOWERS, "specie"), "did you mean species"),
        ((FLOWERS, FLOWERS["species"]), "column 'species' of the inputs is text"),
        ((np.zeros((4, 2)),), "inputs have no targets"),
        ((iter([1]),), "not a dataset of pairs"),
        (([np.zeros(2)],), "Sample 0 of the inputs is not a pair"),
        ((FLOWERS, "species", FLOWERS.iloc[:3].replace("setosa", "rosa"), None), None),
        ((np.zeros((2, 2)), ["a", None]), "text and other values, such as None in sample 1"),
        ((np.zeros((2, 2)), [0, 0], None, [1]), "test targets without test inputs"),
    ],
)
def test_data_in_memory_that_cannot_be_used_is_refused(given, words):
    if words is None:  # a class of the test alone is a class
        assert "rosa" in make_task(*given).classes
        return
    with pytest.raises(RequestError, match=words) as caught:
        make_task(*given)
    assert "\n" not in str(caught.value)


def test_names_of_classes_are_kept_in_the_order_given():
    task = make_task(FLOWERS, "species", classes=SPECIES[::-1])
    assert [task.classes[k] for k in rows(task)[1]] == list(FLOWERS["species"])
    with pytest.raises(RequestError, match=r"label 'virginica' .* is not a class"):
        make_task(FLOWERS, "species", classes=SPECIES[:2])


def test_two_npy_files_are_a_task(tmp_path):
    x = FLOWERS[["length", "width"]].to_numpy()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "t.npy", FLOWERS["species"].to_numpy(str))
    task = Arrays(file=tmp_path / "x.npy", targets=tmp_path / "t.npy").load()
    np.testing.assert_allclose(rows(task)[0], x)
    assert task.classes == SPECIES
    with pytest.raises(RequestError, match="also give targets"):
        Arrays(file=tmp_path / "x.npy").load()


# ------------------------------------------------------------------------------ sizes that differ


def test_sizes_that_do_not_fit_are_told_with_both_and_how_to_choose(written):
    task = written(COMMA)
    network = dither.SimulatedDevice(network=dither.MLP(widths=(3, 3)))
    with pytest.raises(RequestError, match=r"\(3,\).*\(2,\).*than length, width with task\.inputs"):
        dither.train(network, task, RULE, until=SHORT)
    wide = written(FLOWERS.assign(more=1.0)[["length", "width", "more", "species"]].to_csv())
    with pytest.raises(RequestError, match=r"shape \(48, 3\); choose .* more with task\.inputs"):
        dither.train(Chip(), wide, RULE, until=SHORT)


# ----------------------------------------------------------------------------------- in the shell

CHIP = """
class Chip:
    parameters = 6

    def write(self, theta):
        self.weights = theta.reshape(2, 3)

    def measure(self, inputs):
        return inputs @ self.weights
"""


def shell(*words):
    told = CliRunner().invoke(app, [*words])
    assert told.exit_code == 0, (told.output, told.exception)
    return told.stdout


def test_a_table_is_trained_on_and_checked_with_from_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text(COMMA)
    Path("lab.py").write_text(CHIP)
    end = ("--set", "until.measurements=200", "--json")
    trained = shell("train", "xor", "--device", "lab.py:Chip", "--task", "own.csv", *end)
    assert json.loads(trained)["score_name"] == "accuracy"
    checked = shell("device", "check", "lab.py:Chip", "--inputs", "own.csv", "--repeats", "4",
                    "--json", "--toml", "chip.toml")  # fmt: skip
    assert json.loads(checked)["recommended"]["task"] == {
        "kind": "csv", "file": str(Path("own.csv").resolve())
    }  # fmt: skip
    assert json.loads(shell("train", "chip.toml", *end))["score_name"] == "accuracy"


def test_a_table_is_found_beside_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "own.csv").write_text(COMMA)
    (tmp_path / "there" / "run.toml").write_text(
        'task = { kind = "csv", file = "own.csv", label = "species" }\n'
        'device = { kind = "simulated", network = { kind = "mlp", widths = [2, 3] } }\n'
        'algorithm = { kind = "weight-mgd", learning_rate = 0.2, delta = 0.05 }\n'
        "until = { measurements = 100 }\n"
    )
    monkeypatch.chdir(tmp_path)
    assert dither.read_specification("there/run.toml").task.load().classes == SPECIES
    named = dither.read_specification("there/run.toml", ["name=own.csv", "about=own.csv"])
    assert (named.name, named.about) == ("own.csv", "own.csv")
    other = dither.read_specification(
        "there/run.toml", ["task=there/own.csv", "task.file=none.csv"]
    )
    assert other.task.file == Path("none.csv")
    changed = dither.read_specification("there/run.toml", ["task.inputs=[0]", "task.label=2"])
    assert changed.task.load().inputs.shape == (48, 1)


def test_a_run_on_a_table_is_the_same_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text(COMMA)
    device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3)))
    dither.train(device, CSVFile(file="own.csv"), RULE, until=SHORT, out="run")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    told = shell("train", "../run", "--resume", "--set", "until.measurements=400", "--json")
    assert json.loads(told)["ledger"]["measurements"] == 400


def test_new_rows_are_told_as_the_trained_device_sees_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text(COMMA)
    device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3)))
    task = CSVFile(file="own.csv", scale="standard")
    result = dither.train(device, task, RULE, until=SHORT, out="run")
    new = FLOWERS.sample(7, random_state=0)[["species", "width", "length"]]
    new.to_csv("new.csv", index=False)
    raw = task.model_copy(update={"scale": None}).load()
    x = np.asarray(raw.inputs, float)
    rows = (new[["length", "width"]].to_numpy() - x.mean(0)) / x.std(0)
    expected = result.predict(rows)
    told = json.loads(shell("predict", "run", "--inputs", "new.csv", "--json"))
    np.testing.assert_allclose(told["outputs"], expected, rtol=1e-4, atol=1e-5)
    assert told["classes"] == [SPECIES[k] for k in expected.argmax(axis=1)]
    shell("predict", "run", "--inputs", "new.csv", "--out", "told.csv")
    table = pd.read_csv("told.csv")
    assert list(table) == ["class", *(f"output {name}" for name in SPECIES)]
    assert table["class"].tolist() == told["classes"]
    np.save("new.npy", rows)  # as the task has them
    again = json.loads(shell("predict", "run", "--inputs", "new.npy", "--json"))
    np.testing.assert_allclose(again["outputs"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, "does not exist"),
        ("none.npy", None, "does not exist"),
        ("new.csv", "length,more\n1,2\n", "no column 'width'.*the known names are length, more"),
        ("new.csv", "1\n2\n", "has 1 columns, but .* has 2 inputs"),
        ("new.csv", "1,2,3,4\n1,2,3,4\n", "has 4 columns, but .* has 2 inputs"),
        ("new.npy", "1,2", "is not an NPY file"),
    ],
)
def test_new_rows_that_do_not_fit_are_refused(tmp_path, monkeypatch, name, content, words):
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text(COMMA)
    device = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3)))
    dither.train(device, "own.csv", RULE, until=dither.Until(measurements=20), out="run")
    if content is not None:
        Path(name).write_text(content)
    done = CliRunner().invoke(app, ["predict", "run", "--inputs", name])
    assert isinstance(done.exception, RequestError)
    assert re.search(words, str(done.exception)), done.exception


SPECTRA = Path(__file__).parents[1] / "examples" / "spectra.csv"
SCALED = CSVFile(file=SPECTRA, inputs=(1, 4), label=5, values=True, scale="minmax")
TestATable = battery(CSVFile(file=SPECTRA), SCALED)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("length,width,species\n", "has a row of text but no samples"),
        ("0.1 0.2\n0.3 0.4\n", "are separated by spaces"),
        ("a,label\n1,x\n2,x\n3,x\n", "are all x"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused(tmp_path, text, sentence):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(RequestError, match=sentence):
        CSVFile(file=tmp_path / "own.csv").load()


def test_an_error_of_several_lines_is_told_in_one():
    told_in_one = told(ValueError("no mode\n  'x'"))
    assert told_in_one == "ValueError: no mode 'x'"
