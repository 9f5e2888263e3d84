"""The notebook on own data is executed, cell by cell, in a kernel of its own."""

import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_from_a_table_to_a_trained_device_its_confusion_and_its_figure(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    for name in ("own_data.ipynb", "mineral_chip.py", "spectra.csv"):
        shutil.copy(EXAMPLES / name, tmp_path)
    notebook = nbformat.read(tmp_path / "own_data.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    outputs = {
        cell.source.splitlines()[0].partition(" =")[0]: cell.outputs
        for cell in notebook.cells
        if cell.cell_type == "code"
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
