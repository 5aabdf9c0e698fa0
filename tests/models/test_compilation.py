"""What is compiled, and how often: counted by the programs that XLA writes down, not by our own record alone."""

import gc
import json
import re
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import random_inputs, tiny_config
from tiny_task import write_checkpoint, write_data

from powerbert_tf.data.tasks import get_task
from powerbert_tf.models import compilation
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.compilation import compiled, compiled_once, compiling, recorded_compilations
from powerbert_tf.models.config import BertConfig
from powerbert_tf.training.callbacks import BuildSteps
from powerbert_tf.training.losses import distillation_loss, task_loss
from powerbert_tf.training.optimizer import BertAdam

CONFIG = BertConfig(**tiny_config(num_hidden_layers=2))
N = 23


def batch(length, size=5):
    return {name: tf.constant(values) for name, values in random_inputs(tiny_config(), size, length).items()}


def classifier(num_classes=11, dropout=0.1):
    keras.utils.set_random_seed(3)
    return BertClassifier(BertConfig(**tiny_config(num_hidden_layers=2, dropout=dropout)), num_classes, N)


FINETUNE = """
import sys
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.settings import resolve_settings
pipeline.run(
    resolve_settings(
        "SST-2", checkpoint=sys.argv[1], data_dir=sys.argv[2], output_dir=sys.argv[3], max_seq_length=23, epochs=2,
        batch_size=13, eval_batch_size=5, learning_rate=3e-4, jit_compile=True, length_buckets=2,
    ),
    "finetune",
)
"""


@pytest.mark.slow
def test_a_stage_compiles_once_a_length(tmp_path, run_python):
    """53 training examples in batches of 13 and 19 dev examples in batches of 5: neither fits."""
    checkpoint, data = write_checkpoint(tmp_path / "checkpoint"), write_data(tmp_path / "data")
    process = run_python(
        FINETUNE, checkpoint, data, tmp_path / "runs", XLA_FLAGS=f"--xla_dump_to={tmp_path / 'programs'}"
    )
    programs = [path.name for path in (tmp_path / "programs").glob("*before_optimizations.txt")]
    steps = [name for name in programs if "one_step_on_data" in name]
    assert len(steps) == 2
    assert len(programs) == 4  # and a prediction's of each length
    found = json.loads((tmp_path / "runs" / "SST-2" / "finetune" / "result.json").read_text())
    assert found["compilations"] == len(programs)
    assert 0 < found["compile_seconds"] < found["seconds"]
    assert re.search(r"XLA compiled 4 times, \d+ s of \d+", process.stdout)
    log = [
        json.loads(line) for line in (tmp_path / "runs" / "SST-2" / "finetune" / "log.jsonl").read_text().splitlines()
    ]
    in_epochs = sum(row["train_seconds"] + row["eval_seconds"] for row in log)
    assert in_epochs <= found["seconds"] - found["compile_seconds"]


def test_xla_gives_the_same_and_is_compiled_once_a_shape():
    model = with_retention(classifier(), (0.8, 0.45))
    function = compiled(model, jit_compile=True)
    with recorded_compilations() as outer:
        for length in (19, 7, 19, 7):
            with recorded_compilations() as record:
                found = function(batch(length)).numpy()
            np.testing.assert_allclose(found, model(batch(length)).numpy(), atol=1e-5)
    assert (record.count, record.seconds) == (0, 0)  # the last one was known
    assert outer.count == 2
    assert outer.seconds > 0
    assert function.function.experimental_get_tracing_count() == 1


def test_the_plain_graph_is_built_once_for_all_shapes():
    model = classifier()
    with recorded_compilations() as record:
        for length in (19, 7):
            for _ in range(2):
                compiled_once(model)(batch(length))
    assert record.count == 1


def test_a_kept_function_sees_new_weights_and_goes_with_its_model():
    model = classifier()
    function, alive = weakref.ref(compiled_once(model)), weakref.ref(model)
    first = compiled_once(model)(batch(7)).numpy()
    model.get_layer("classifier").bias.assign_add(np.full(11, 3.0, "float32"))
    np.testing.assert_allclose(compiled_once(model)(batch(7)), first + 3.0, atol=1e-5)
    assert compiled_once(model) is function()
    del model
    gc.collect()
    assert alive() is None
    assert function() is None


def test_what_fails_is_not_recorded():
    with recorded_compilations() as record:
        with pytest.raises(ZeroDivisionError), compiling():
            1 / 0  # noqa: B018
        with compiling():
            pass
    assert record.count == 1
    with compiling():
        pass
    assert record.count == 1  # the block has ended


def test_building_the_step_beforehand_changes_no_weight():
    inputs, labels = batch(13, size=7), tf.constant([3, 1, 4, 1, 5, 9, 2])
    batches = tf.data.Dataset.from_tensors((inputs, labels)).repeat(3)

    def trained(callbacks):
        model = classifier()
        model.compile(BertAdam(1e-3, weight_decay=0.1), task_loss(get_task("SST-2")), jit_compile=False)
        with recorded_compilations() as record:
            model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
        values = [*model.variables, *model.optimizer.variables]
        return [variable.numpy() for variable in values], record

    expected, _ = trained([])
    found, record = trained([BuildSteps("test", batches.take(2), 2)])
    assert record.count == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("loss", ["SST-2", "STS-B", "logits", "kl"])
def test_filled_batches_have_the_loss_and_the_gradients_of_those_that_are_not(loss):
    is_task = loss in ("SST-2", "STS-B")
    model = classifier(num_classes=1 if loss == "STS-B" else 11, dropout=0.0)
    model.compile(BertAdam(1e-3), task_loss(get_task(loss)) if is_task else distillation_loss(loss))
    random = np.random.default_rng(0)
    labels = random.integers(11, size=3) if is_task else random.normal(size=(3, 11))
    labels = labels.astype("int32" if loss == "SST-2" else "float32")
    inputs = {name: values[:3] for name, values in batch(13).items()}
    filled = {name: tf.pad(values, [[0, 4], [0, 0]]) for name, values in inputs.items()}
    filled_labels = np.concatenate([labels, np.zeros((4, *labels.shape[1:]), labels.dtype)])

    def loss_and_gradients(*given):
        with tf.GradientTape() as tape:
            x, y, *weights = given
            value = model.compute_loss(x, y, model(x, training=True), *weights)
        gradients = tape.gradient(value, model.trainable_variables)
        return [value, *(tf.convert_to_tensor(gradient) for gradient in gradients)]

    expected = loss_and_gradients(inputs, labels)
    found = loss_and_gradients(filled, filled_labels, np.array([1] * 3 + [0] * 4, "float32"))
    assert float(expected[0]) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_pytorch_has_no_xla(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(compilation, "backend_module", lambda: None)
    with pytest.raises(ValueError, match="jit_compile=True; expected False on PyTorch"):
        compiled(classifier, jit_compile=True)
