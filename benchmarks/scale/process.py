"""One process of `benchmarks.scale`: trains a small model and reports the loss of each step, metrics and times.

`python -m benchmarks.scale.process JOB`, a JSON object, see `Job`; `TF_CONFIG` and `XLA_FLAGS` are the caller's. The
chief prints one line of JSON.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.common.processes import open_answers
from powerbert_tf.data.tasks import get_task
from powerbert_tf.latency.costs import Costs, count_costs, grouped_lengths
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.search.soft import WIDTH, BudgetController
from powerbert_tf.training.distribution.launch import distributing
from powerbert_tf.training.distribution.processes import is_chief
from powerbert_tf.training.elastic import DrawConfigurations, SandwichModel
from powerbert_tf.training.evaluation import predict_logits
from powerbert_tf.training.losses import distillation_loss
from powerbert_tf.training.train import Recipe, TrainingSetup, train

KINDS = ("finetune", "retrain", "paper", "soft", "elastic")
_EPOCHS = 5


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process trains."""

    config: dict[str, Any]  # fields of a `BertConfig`
    kinds: Sequence[str]  # of `KINDS`
    distribution: str = "none"  # as `--distribution`
    devices: int = 1  # logical ones, to split the CPU into
    batch_size: int = 8  # of all devices
    steps: int = 50  # of all epochs together, a multiple of 5
    last: int = 3  # rows of the last batch of an epoch
    max_length: int = 23  # N
    clipnorm: float = 1.0  # of the whole gradient


class _Recorder(keras.callbacks.Callback):
    """Records the loss and the seconds of each step."""

    def __init__(self):
        super().__init__()
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(np.asarray(logs["loss"])))
        self.seconds.append(time.perf_counter() - self._began)


def made_up_split(job: Job, rows: int, seed: int) -> EncodedSplit:
    """Random tokens in rows of all lengths; the label is whether the first token after [CLS] is of the upper half."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, job.max_length + 1, rows)
    ids = random.integers(5, job.config["vocab_size"], lengths.sum()).astype("int32")
    ends = np.cumsum(lengths)
    firsts = ids[ends - lengths + 1]
    labels = (firsts > job.config["vocab_size"] // 2).astype("int64")
    return EncodedSplit(ids, np.stack([ends - lengths, ends, ends], axis=1), labels, 0, job.max_length)


def made_up_model(config: BertConfig, job: Job, seed: int) -> BertClassifier:
    """Random weights, the same on every backend."""
    model = BertClassifier(config, 2, job.max_length)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        scale = 0.1 if len(weight.shape) == 1 else 1 / np.sqrt(config.hidden_size)
        weight.assign(scale * random.standard_normal(weight.shape) + (weight.name == "gamma"))
    return model


def run_kind(job: Job, kind: str) -> dict[str, Any]:
    """Trains one way; `losses`, `metrics`, dev `logits`, `weights` (sum and sum of squares of each) and `step_ms`."""
    keras.utils.set_random_seed(7)
    task = get_task("SST-2")
    settings = resolve_settings(
        task,
        epochs=_EPOCHS,
        batch_size=job.batch_size,
        eval_batch_size=13,
        length_buckets=2,  # JAX compiles a step for each
        max_seq_length=job.max_length,
        learning_rate=2e-3,
        learning_rate_soft_extract=0.02,
        clipnorm=job.clipnorm,
        weight_decay=0.01,
        checkpoint_minutes=0,
        distribution=job.distribution,
    )
    train_split = made_up_split(job, job.batch_size * (job.steps // _EPOCHS - 1) + job.last, seed=1)
    dev_split = made_up_split(job, 29, seed=2)
    config = BertConfig(**job.config)
    model = made_up_model(config, job, seed=3)
    trained, source, recorder = model, None, _Recorder()
    callbacks: list[keras.callbacks.Callback] = [recorder]
    loss = None
    if kind == "retrain":
        trained = model.with_slots(retention_configuration=(0.6,) * config.num_hidden_layers)
        teacher = made_up_model(config, job, seed=4)
        train_split = dataclasses.replace(train_split, labels=predict_logits(teacher, train_split, settings.inference))
        loss = distillation_loss("logits")
    elif kind == "paper":
        trained = model.with_slots(soft_extract=True, lambda_=0.01)
    elif kind == "soft":
        source = model.with_slots(gate_width=WIDTH)
        lengths = grouped_lengths(dev_split.lengths, 8)
        costs = Costs(count_costs(config.encoder_size, job.max_length, 8), lengths, config.num_hidden_layers)
        callbacks.append(BudgetController(costs, 1.3))
    elif kind == "elastic":
        source = SandwichModel(model, "single_label_classification", (0.5,) * config.num_hidden_layers)
        callbacks.append(DrawConfigurations())
    recipe = Recipe(title=kind, rate=2e-3, epochs=_EPOCHS, loss=loss, keep_last=True, callbacks=callbacks)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(os.environ.get("SCALE_FOLDER", folder)) / kind
        own.mkdir(parents=True, exist_ok=True)
        setup = TrainingSetup(task, train_split, dev_split, settings.training, settings.inference)
        outcome = train(trained, setup, own, recipe, source)
    logits = predict_logits(trained, dev_split, settings.inference)
    arrays = [keras.ops.convert_to_numpy(weight).astype("float64") for weight in trained.weights]
    return {
        "losses": recorder.losses,
        "metrics": outcome.metrics,
        "logits": logits.tolist(),
        "weights": [[float(array.sum()), float(np.square(array).sum())] for array in arrays],
        "step_ms": 1000 * float(np.median(recorder.seconds[len(recorder.seconds) // 5 :])),
    }


def main() -> None:
    """Trains all kinds of a job."""
    say = open_answers()
    job = Job(**json.loads(sys.argv[1]))
    if job.devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * job.devices)
    with distributing(job.distribution):
        found = {kind: run_kind(job, kind) for kind in job.kinds}
        if is_chief():
            say(found)


if __name__ == "__main__":
    main()
