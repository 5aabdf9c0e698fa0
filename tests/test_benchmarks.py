"""The arithmetic of the benchmarks, and that their engines agree; nothing is timed here."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import tiny_config

from benchmarks import inference
from benchmarks.engines import ENGINES, Engine, Job
from benchmarks.inference_report import compare, write_report
from benchmarks.random_checkpoint import SHAPES, write_random_checkpoint
from benchmarks.worker import random_batch
from powerbert_tf import load_classifier
from powerbert_tf.bert_config import BertConfig
from powerbert_tf.retention import validate_configuration

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = BertConfig(**tiny_config())


def row(engine, milliseconds, batch=3, length=17):
    return {
        **{"engine": engine, "batch": batch, "length": length, "first_ms": 97.0, "calls": 5, "peak_mib": 7.0},
        **{"p50_ms": milliseconds, "p90_ms": 1.1 * milliseconds, "p99_ms": 1.3 * milliseconds},
    }


REPORT = {
    **{"command": "python -m benchmarks.inference", "date": "2 May", "device": "some device", "python": "3.11"},
    **{"packages": {"keras": "3"}, "threads": 2, "shape": "minilm", "skipped": {"OpenVINO": ["openvino"]}},
    "matrix_product_peak": 1e6,  # multiply-adds a second
    "multiply_adds": [{"length": 17, "dense": 6000, "reduced": 2000}],
    "results": [
        row("ours, dense", 20.0),
        row("ours, dense, XLA", 16.0),
        row("ours, reduced", 8.0),
        row("KerasHub", 30.0),
        row("ONNX Runtime", 24.0),
    ],
}


def test_ratios_by_hand():
    (found,) = compare(REPORT).to_dict("records")
    assert found.pop("fastest peer") == "ONNX Runtime"
    expected = {
        "batch": 3,
        "length": 17,
        "dense / peer": 24 / 20,
        "plain / XLA": 16 / 20,
        "speed-up": 20 / 8,
        "multiply-adds": 3.0,
        "realised": 20 / 8 / 3,
        "reduced / peer": 24 / 8,
        "share of peak": 3 * 6000 / 0.020 / 1e6,
    }
    assert found == pytest.approx(expected)


def test_the_report_names_what_was_measured_and_what_was_not(tmp_path):
    write_report(REPORT, tmp_path / "inference")
    text = (tmp_path / "inference.md").read_text(encoding="utf-8")
    assert "OpenVINO is not installed." in text
    assert "geometric mean 1.20, least 1.20 at batch 3 x 17 (ONNX Runtime)" in text
    assert "| 3 | 17 | 20.00 | 16.00 | 8.00 | 30.00 | 24.00 |" in text
    assert (tmp_path / "inference.png").stat().st_size > 1000


def test_a_missing_module_is_named():
    assert Engine(("json", "no_such_module"), lambda job: None).missing == ["no_such_module"]


def test_engines_that_disagree_are_refused():
    answers = {"ours, dense": {"logits": [[0.5, 1.0]]}, "KerasHub": {"logits": [[0.5, 1.01]]}}
    with pytest.raises(RuntimeError, match=r"batch 3 x 17: KerasHub and ours, dense differ by 1\.0e-02"):
        inference._check_agreement(3, 17, answers)
    # A reduced model gives other logits.
    inference._check_agreement(3, 17, {"ours, dense": {"logits": [[0.5]]}, "ours, reduced": {"logits": [[0.7]]}})


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_a_configuration_to_reduce_it(shape):
    configuration = inference.RETENTION[shape]
    assert validate_configuration(configuration, SHAPES[shape].num_hidden_layers, 512) == configuration


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_the_logits_of_the_checkpoint(engine, tmp_path):
    if ENGINES[engine].missing:
        pytest.skip(f"{', '.join(ENGINES[engine].missing)} not installed")
    write_random_checkpoint(tmp_path, CONFIG, num_classes=7)
    (tmp_path / "vocab.txt").write_text("\n".join(map(str, range(CONFIG.vocab_size))), encoding="utf-8")
    retention = (0.8, 0.45, 0.45)
    job = Job(str(tmp_path), 7, 23, threads=1, retention=retention)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", engine, json.dumps(dataclasses.asdict(job))],
        input='{"batch": 3, "length": 19, "calls": 2, "seconds": 0}\n',
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ready, answer = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": True}
    assert len(answer["ms"]) == 2
    assert min(answer["ms"]) > 0
    model = load_classifier(tmp_path, 7, 23, retention_configuration=retention if ENGINES[engine].reduced else None)
    expected = model(random_batch(CONFIG.vocab_size, 3, 19))
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
