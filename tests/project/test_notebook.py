"""The notebooks: their cells run from top to bottom, on what is here."""

import ast
import json
import re
import sys

import pytest
from conftest import REPOSITORY
from tiny_bert import random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import command_line

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

COLAB, GALLERY = (REPOSITORY / "notebooks" / f"{name}.ipynb" for name in ("tpu_colab", "gallery"))
MORE_FLAGS = (
    "--max_seq_length=31 --epochs=1 --epochs_retrain=1 --train_examples=53 --batch_size=13 --latency_batch_size=5 "
    "--cost_model=multiply_adds --calibration_examples=17 --cache_dir="
)
VALUES = {
    COLAB: {"INSTALL": False, "CHECKPOINT": "checkpoint", "TARGET_SPEEDUP": 1.5, "MORE_FLAGS": MORE_FLAGS},
    GALLERY: {"CHECKPOINT": "checkpoint", "TARGET_SPEEDUP": 1.5, "MORE_FLAGS": MORE_FLAGS},
}


def test_each_notebook_is_tested():
    assert set((REPOSITORY / "notebooks").iterdir()) == set(VALUES)


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_it_is_a_notebook_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1


@pytest.mark.parametrize("accelerator", ["TPU", "GPU", "CPU"])
def test_flags_of_an_accelerator_are_read(accelerator):
    (cell,) = (cell for cell in nbformat.read(COLAB, as_version=4).cells if "FLAGS_OF = {" in cell.source)
    (flags,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "FLAGS_OF"
    )
    assert flags[accelerator] is not None
    known = {f"--{flag.name}" for flag in command_line.SETTINGS.values()}
    assert {flag.partition("=")[0] for flag in flags[accelerator]} <= known


def test_files_that_the_gallery_names_are_there():
    text = "".join(cell.source for cell in nbformat.read(GALLERY, as_version=4).cells if cell.cell_type == "markdown")
    named = re.findall(r"`((?:docs/\w+|README)\.md)`", text)
    assert len(named) > 4
    assert all((REPOSITORY / name).is_file() for name in named)


@pytest.fixture
def executed(request, tmp_path, monkeypatch):
    """All cells of a notebook, run in an empty folder with settings that are small; nothing is installed."""
    notebook, values = nbformat.read(request.param, as_version=4), VALUES[request.param]
    config = tiny_config(intermediate_size=139)
    write_google_checkpoint(tmp_path / "checkpoint", config, random_weights(config, None))
    (number,) = (number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    assert {name for name in values if f"{name} = " in notebook.cells[number].source} == set(values)
    given = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(number + 1, nbformat.v4.new_code_cell(given))
    command = tmp_path / "bin" / "powerbert"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY / "run_glue.py"} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def of_type(outputs, kind):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def said(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def rounded(number):
    """As pandas writes it, which leaves zeros at the end out."""
    return f"{round(number, 3):g}"


@pytest.mark.slow
@pytest.mark.parametrize("executed", [COLAB], indirect=True)
def test_the_cells_for_colab_run(executed, tmp_path):
    """From the sample to an archive of the export."""
    found = json.loads((tmp_path / "runs" / "SST-2" / "evaluate" / "result.json").read_text())
    (table,) = of_type(executed, "text/html")
    assert rounded(found["reduced"]["metrics"]["accuracy"]) in table
    assert len(of_type(executed, "image/png")) == 1
    assert "CPU" in said(executed)
    assert "probabilities" in said(executed)
    assert (tmp_path / "SST-2-1.zip").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("executed", [GALLERY], indirect=True)
def test_the_cells_of_the_gallery_run(executed, tmp_path):
    """Train, look at the words, compare, export, and load in a process that has TensorFlow alone."""
    run = tmp_path / "runs" / "requests"
    found = json.loads((run / "evaluate" / "result.json").read_text())
    rows, page, table = of_type(executed, "text/html")
    assert "topic" in rows
    assert "srcdoc" in page
    for model in ("dense", "reduced"):
        assert rounded(found[model]["metrics"]["accuracy"]) in table
    assert len(of_type(executed, "image/png")) == 1
    text = said(executed)
    assert "asked 1.5x" in text
    assert re.search(r"^encoder 1  \[CLS\] ", text, flags=re.MULTILINE)
    assert (run / "report" / "index.html").is_file()
    classes = json.loads((run / "saved_model" / "1" / "task.json").read_text())["classes"]
    answers = re.findall(r"^are you open on sunday: (.*) \((0\.\d\d)\)$", text, flags=re.MULTILINE)
    assert [label in classes for label, _ in answers] == [True]
    assert "powerbert_tf is loaded: False" in text
