"""Half precision: what it may change, what it must not, and what a run reports of it."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_hugging_face_checkpoint
from tiny_task import NUM_ROWS, write_checkpoint, write_data

from powerbert_tf import load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.tasks import get_task
from powerbert_tf.models.classifier import with_retention
from powerbert_tf.models.precision import PRECISIONS, computing_in
from powerbert_tf.reports.summary import DENSE_SPEEDUPS, format_summary
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.stages.evaluate import describe_rounding

CONFIG = tiny_config()
# Three encoders of bfloat16's 8 bits and float16's 11 lead to logits of about 2.
TOLERANCE = {"float32": 0.0, "mixed_bfloat16": 0.15, "mixed_float16": 0.02}
FRACTIONS = (0.8, 0.45, 0.13)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_hugging_face_checkpoint(folder, CONFIG, random_weights(CONFIG, 7))
    return folder


def load(checkpoint, precision, **kwargs):
    with computing_in(precision):
        return load_classifier(checkpoint, 7, 23, **kwargs)


def test_a_precision_holds_for_its_block():
    with computing_in("mixed_bfloat16"):
        assert keras.layers.Dense(3).compute_dtype == "bfloat16"
    assert keras.layers.Dense(3).compute_dtype == "float32"
    with pytest.raises(KeyError), computing_in("mixed_bfloat16"):
        raise KeyError
    assert keras.layers.Dense(3).compute_dtype == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_are_close_to_those_in_float32_and_weights_are_float32(checkpoint, precision):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    model, exact = load(checkpoint, precision), load(checkpoint, "float32")
    logits = model(inputs)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    difference = np.abs(ops.convert_to_numpy(logits) - ops.convert_to_numpy(exact(inputs))).max()
    assert difference <= TOLERANCE[precision]
    assert (difference == 0) == (precision == "float32")


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_gates_of_width_0_eliminate_what_extraction_does(checkpoint, precision):
    # The gates' fractions are float32: 0.45 in bfloat16 is 0.4492, another row of 19.
    dense = load(checkpoint, precision)
    with computing_in(precision):
        gated, extracting = dense.with_slots(gate_width=0.0), with_retention(dense, FRACTIONS)
    for slot, fraction in zip(gated.slots, FRACTIONS, strict=False):
        slot.fraction.assign(fraction)
    mask = ops.ones((2, 19), "int32")
    scores = ops.convert_to_tensor(np.random.default_rng(5).random((2, 5, 19, 19)), gated.encoders[0].compute_dtype)
    for gate, extract in zip(gated.slots, extracting.slots, strict=True):
        opened = ops.convert_to_numpy(gate(scores, mask, mask)["padding_mask"])
        rows = ops.convert_to_numpy(extract(scores, mask, mask)["rows"])
        assert opened.dtype == "float32"
        np.testing.assert_array_equal([np.flatnonzero(row) for row in opened], rows)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_on_jax_logits_are_close_to_those_in_float32(checkpoint, precision, tmp_path, run_python):
    inputs = random_inputs(CONFIG, batch=5, length=19)
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = """
import sys, numpy as np
from powerbert_tf import load_classifier
from powerbert_tf.models.precision import computing_in
with computing_in(sys.argv[1]):
    model = load_classifier(sys.argv[2], 7, 23)
np.save(sys.argv[4], model.predict(dict(np.load(sys.argv[3])), verbose=0))
"""
    pytest.importorskip("jax")
    run_python(code, precision, checkpoint, tmp_path / "inputs.npz", tmp_path / "logits.npy", KERAS_BACKEND="jax")
    expected = ops.convert_to_numpy(load(checkpoint, "float32")(inputs))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=TOLERANCE[precision])


def summary_of(rounding):
    """The closing table of a run with these differences, and made-up numbers elsewhere."""
    adds = {"dense": 3e6, "reduced": 2e6, "saved": 1.5}
    ways = [*(f"dense, {way}" for way in DENSE_SPEEDUPS), "reduced, grouped by length"]
    evaluated = {
        **{name: {"metrics": {"accuracy": 0.75}} for name in ("dense", "reduced")},
        **{"metric": "accuracy", "examples": 4},
        "retention_configuration": [0.5, 0.3],
        "rounding": rounding,
        "multiply_adds": {
            **dict.fromkeys(("padded", "unpadded", "padded_to_unpadded"), adds),
            **{"mean_length": 11.0, "kept": [5.0, 3.0]},
        },
        "speedup": {
            **dict.fromkeys((*DENSE_SPEEDUPS.values(), "predicted"), 2.0),
            **{"batch_size": 5, "milliseconds": dict.fromkeys(ways, 7.0)},
        },
    }
    return format_summary("SST-2", "tsv", 23, evaluated)


def test_what_rounding_changes_by_hand():
    labels = np.array([0, 1, 1, 0])
    exact = np.array([[2.0, 1.0], [1.0, 2.0], [3.0, 1.0], [0.5, 0.25]])  # 3 of 4 right
    rounded = np.array([[2.0, 1.0], [1.0, 2.5], [3.0, 1.0], [0.5, 0.75]])  # the last one turns wrong
    found = describe_rounding(get_task("SST-2"), labels, rounded, exact)
    assert found == {
        "float32": {"accuracy": 0.75},
        "difference": {"accuracy": -0.25},
        "predictions": 1,
        "largest": 0.5,
    }
    text = summary_of({"dense": found, "reduced": found, "precision": "mixed_float16", "examples": 4})
    assert ["fine-tuned", "accuracy", "0.7500", "0.5000", "-0.2500"] in [line.split() for line in text.splitlines()]
    assert "reduced: 1 of 4 predictions differ, logits by at most 0.500" in text


def test_a_regression_has_no_predictions_to_count():
    values = np.array([[1.0], [2.0], [4.0]])
    found = describe_rounding(get_task("STS-B"), np.array([1.0, 2.0, 3.0]), values + 0.125, values)
    assert found["predictions"] is None
    assert found["largest"] == 0.125
    text = summary_of({"dense": found, "reduced": found, "precision": "mixed_bfloat16", "examples": 3})
    assert "reduced: logits by at most 0.125" in text


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match=r"--precision=half: expected one of float32, mixed_bfloat16, mixed_float16"):
        resolve_settings("SST-2", precision="half")


@pytest.mark.slow
def test_a_run_trains_tells_and_exports_in_its_precision(tmp_path, capsys):
    precision = "mixed_float16"  # which scales its loss, too
    write_checkpoint(tmp_path / "checkpoint")
    write_data(tmp_path / "data", "SST-2")
    settings = resolve_settings(
        "SST-2",
        **{"checkpoint": str(tmp_path / "checkpoint"), "data_dir": str(tmp_path / "data")},
        **{"output_dir": str(tmp_path / "runs"), "max_seq_length": 23, "epochs": 1, "batch_size": 13},
        **{"learning_rate": 3e-4, "retention_configuration": "0.7,0.3", "cost_model": "multiply_adds"},
        **{"latency_batch_size": 5, "precision": precision, "epochs_retrain": 1},
    )
    pipeline.run(settings)
    folder = tmp_path / "runs" / "SST-2"
    evaluated = json.loads((folder / "evaluate" / "result.json").read_text())
    rounding = evaluated["rounding"]
    assert (rounding["precision"], rounding["examples"]) == (precision, NUM_ROWS["dev"])
    assert evaluated["speedup"]["device"].endswith(precision)
    # By another route: the labels of dev, and the weights in a model that was never in half precision.
    lines = (tmp_path / "data" / "SST-2" / "dev.tsv").read_text().splitlines()[1:]
    labels = np.array([int(line.split("\t")[1]) for line in lines])
    run = prepare(settings, folder)
    from powerbert_tf.batches.padded_batches import prediction_batches

    batches = prediction_batches(run.split("dev"), len(labels), padding="max")
    ((batch, order),) = batches
    for name, model in {"dense": run.dense_model(), "reduced": run.reduced_model()}.items():
        logits = ops.convert_to_numpy(model(batch))
        accuracy = float(np.mean(np.argmax(logits, axis=-1) == labels[order]))
        assert rounding[name]["float32"] == {"accuracy": pytest.approx(accuracy)}
        half = accuracy + rounding[name]["difference"]["accuracy"]
        assert evaluated[name]["metrics"] == {"accuracy": pytest.approx(half)}
        assert 0 < rounding[name]["largest"] < 0.3
    assert (folder / "saved_model" / "1" / "saved_model.pb").is_file()
    assert f"of {NUM_ROWS['dev']} predictions differ" in capsys.readouterr().out
    assert keras.config.dtype_policy().name == "float32"
