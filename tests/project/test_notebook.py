"""The notebook for Colab: its cells run from top to bottom, on what is here."""

import ast
import json

import pytest
from conftest import REPOSITORY
from tiny_bert import random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import command_line

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

PATH = REPOSITORY / "notebooks" / "tpu_colab.ipynb"
MORE_FLAGS = (
    "--max_seq_length=31 --epochs=1 --epochs_retrain=1 --train_examples=53 --batch_size=13 --latency_batch_size=5 "
    "--cost_model=multiply_adds --calibration_examples=17 --cache_dir="
)


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def test_it_is_a_notebook_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1


@pytest.mark.parametrize("accelerator", ["TPU", "GPU", "CPU"])
def test_flags_of_an_accelerator_are_read(notebook, accelerator):
    (cell,) = (cell for cell in notebook.cells if "FLAGS_OF = {" in cell.source)
    (flags,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "FLAGS_OF"
    )
    assert flags[accelerator] is not None
    known = {f"--{flag.name}" for flag in command_line.SETTINGS.values()}
    assert {flag.partition("=")[0] for flag in flags[accelerator]} <= known


@pytest.mark.slow
def test_its_cells_run(notebook, tmp_path, monkeypatch):
    """From the sample to an archive of the export; nothing is installed, and settings are small."""
    config = tiny_config(intermediate_size=139)
    write_google_checkpoint(tmp_path / "checkpoint", config, random_weights(config, None))
    (number,) = (number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    values = {"INSTALL": False, "CHECKPOINT": "checkpoint", "TARGET_SPEEDUP": 1.5, "MORE_FLAGS": MORE_FLAGS}
    assert {name for name in values if f"{name} = " in notebook.cells[number].source} == set(values)
    given = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(number + 1, nbformat.v4.new_code_cell(given))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()

    folder = tmp_path / "runs" / "SST-2"
    found = json.loads((folder / "evaluate" / "result.json").read_text())
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) == 1
    assert f"{round(found['reduced']['metrics']['accuracy'], 3):g}" in tables[0]  # pandas leaves zeros at the end out
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "CPU" in said
    assert "probabilities" in said
    assert (tmp_path / "SST-2-1.zip").stat().st_size > 1000
