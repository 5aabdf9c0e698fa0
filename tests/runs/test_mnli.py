"""MNLI trains once and answers both genres and AX."""

import csv
import json
import shutil

import pytest
from conftest import REPOSITORY
from tiny_task import write_checkpoint

from powerbert_tf.runs import pipeline
from powerbert_tf.runs.settings import resolve_settings


@pytest.mark.slow
def test_both_genres_and_ax_in_one_run(tmp_path, capsys):
    write_checkpoint(tmp_path / "checkpoint")
    shutil.copytree(REPOSITORY / "glue_data" / "sample" / "MNLI", tmp_path / "data" / "MNLI")
    (tmp_path / "data" / "AX").mkdir()
    (tmp_path / "data" / "AX" / "AX.tsv").write_text("index\tsentence1\tsentence2\n0\ta b\tb\n1\tc\td e\n2\tf\tg\n")
    settings = resolve_settings(
        "MNLI", checkpoint=str(tmp_path / "checkpoint"), data_dir=str(tmp_path / "data"),
        output_dir=str(tmp_path / "runs"), max_seq_length=23, epochs=1, epochs_retrain=1, train_examples=53,
        retention_configuration="0.9,0.5", cost_model="multiply_adds", latency_batch_size=5,
    )  # fmt: skip
    pipeline.run(settings, "evaluate")
    pipeline.run(settings, "predict")
    folder = tmp_path / "runs" / "MNLI"

    evaluated = json.loads((folder / "evaluate" / "result.json").read_text())
    further = evaluated["further"]["dev_mismatched"]
    assert set(further) == {"dense", "reduced"}
    assert 0 <= further["reduced"]["accuracy"] <= 1
    assert "reduced: dev_mismatched accuracy" in capsys.readouterr().out

    predicted = json.loads((folder / "predict" / "result.json").read_text())
    assert (predicted["submission"], predicted["examples"]) == ("MNLI-m.tsv", 60)
    assert predicted["further"] == [
        {"examples": 60, "submission": "MNLI-mm.tsv"},
        {"examples": 3, "submission": "AX.tsv"},
    ]
    for name, count in (("MNLI-m", 60), ("MNLI-mm", 60), ("AX", 3)):
        with (folder / "predict" / f"{name}.tsv").open(newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        assert header == ["index", "prediction"]
        assert [row[0] for row in rows] == [str(number) for number in range(count)]
        assert {row[1] for row in rows} <= {"contradiction", "entailment", "neutral"}
    assert (folder / "predict" / "probabilities.tsv").exists()
    assert (folder / "predict" / "probabilities-AX.tsv").exists()
