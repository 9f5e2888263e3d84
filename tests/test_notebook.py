"""The notebooks are executed, cell by cell, in kernels of their own."""

import re
import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

ROOT = Path(__file__).parents[1]
EXAMPLES, JOURNEYS = ROOT / "examples", ROOT / "docs" / "notebooks"


def executed(path, folder):
    """The notebook, run in a folder. An error in a cell is an error of the test."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return notebook


def code(notebook):
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said(notebook):
    """What its cells print, and their tables as text."""
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return "\n".join(one.get("text") or one.data.get("text/plain", "") for one in outputs)


def numbers(pattern, text):
    """The groups of the first match as numbers."""
    return [float(group) for group in re.search(pattern, text).groups()]


def test_from_a_table_to_a_trained_device_its_confusion_and_its_figure(tmp_path):
    for name in ("mineral_chip.py", "spectra.csv"):
        shutil.copy(EXAMPLES / name, tmp_path)
    notebook = executed(EXAMPLES / "own_data.ipynb", tmp_path)
    outputs = {
        cell.source.splitlines()[0].partition(" =")[0]: cell.outputs for cell in code(notebook)
    }
    assert outputs["import dither"][0].text == (
        "96 spectra to train with, 24 to test with\nclasses: calcite, feldspar, quartz\n"
    )
    table = outputs["confusion"][-1].data["text/html"]
    counts = [int(cell) for cell in _cells(table)]
    assert sum(counts) == 24
    assert sum(counts[::4]) >= 0.95 * 24  # those on the diagonal: the score that was asked for
    assert "image/png" in outputs["axes"][-1].data
    told = outputs["rows"][-1].data["text/plain"]
    assert told.count("'") == 6


def _cells(table):
    return [part.partition("</td>")[0] for part in table.split("<td>")[1:]]


def test_a_run_is_resumed_bit_for_bit(tmp_path):
    text = said(executed(JOURNEYS / "first_training.ipynb", tmp_path))
    assert "equal bit for bit: True" in text
    assert "read from the folder: {'measurements': 1000" in text


def test_an_own_device_stays_in_its_bounds_and_ends_safe(tmp_path):
    text = said(executed(JOURNEYS / "own_device.ipynb", tmp_path))
    low, high = numbers(r"voltages written: (\S+) V to (\S+) V", text)
    assert -4 <= low < 0 < high <= 4
    (by_chip,) = numbers(r"failed readings by the chip's log: (\d+)", text)
    (by_dither,) = numbers(r"failed readings by dither's account: (\d+)", text)
    assert by_chip == by_dither > 0
    assert "voltages at the end: [0.]" in text


def test_neurons_are_known_after_fewer_measurements_than_weights(tmp_path):
    text = said(executed(JOURNEYS / "nodes.ipynb", tmp_path))
    (weights,) = numbers(r"\nweights +(\S+)", text)
    (shared,) = numbers(r"\nneurons, shared +(\S+)", text)
    (per_example,) = numbers(r"\nneurons, per example +(\S+)", text)
    # a layer's kappa is its number of weights - 1, of 2 080 and 330; kappa lies between the two
    assert 329 <= weights <= 2079
    assert weights > shared > per_example


def test_mirrors_that_are_solved_for_end_below_those_that_are_flipped(tmp_path):
    text = said(executed(JOURNEYS / "mirrors.ipynb", tmp_path))
    flipped, solved = (
        numbers(rf"{name}: .*\n +test NMSE (\S+) \((\S+) to (\S+)\)", text)
        for name in (r"error alone \(greedy\)", "outputs seen")
    )
    assert solved[2] < flipped[1]  # the worst of nine against the best of nine
    (own,) = numbers(r"error now: (\S+),", text)
    assert own < 0.1  # of 2 for a readout that knows nothing


def test_a_study_is_fitted_and_read_again(tmp_path):
    text = said(executed(JOURNEYS / "scaling_study.ipynb", tmp_path))
    value, low, high = numbers(r"against neurons: (\S+) \((\S+)–(\S+)\)", text)
    assert low < value < high
    assert "36 runs\n0 of them unfinished" in text
    assert "equal: True" in text


@pytest.mark.parametrize("path", sorted(JOURNEYS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_was_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error" or one.get("name") == "stderr"]
    assert any("image/png" in str(one) for one in outputs)
    assert "At the end of this notebook you have" in notebook.cells[0].source.replace(
        "know", "have"
    )
    assert len(notebook.cells) <= 12
    links = re.findall(r"\]\(([^)#]+)", notebook.cells[-1].source)
    assert len(links) == 3


def test_the_notebook_on_own_data_is_committed_without_outputs():
    notebook = nbformat.read(EXAMPLES / "own_data.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
