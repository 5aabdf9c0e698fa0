"""The engines that train a BERT classifier for one step, each from the same checkpoint in Hugging Face's format.

A step is forward with dropout, backward, and Adam's update; it ends when its loss is known. Engines have to agree on
the loss before the first step, without dropout.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.common.engine import Built, Engine, Job, check_agreement
from benchmarks.common.frameworks import keras_hub_backbone, set_up_keras, set_up_torch, torch_inputs

_RATE = 2e-5
_STEPS = 10_000  # of the schedule: more than are measured
_TARGET = 3.0  # times faster, of the gated search
_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def _keras(trainer, optimizer, loss, labels: str, jit_compile: bool, after_step=lambda: None) -> Built:
    """A Keras model, trained by `train_on_batch`, which runs what `fit` does."""
    from keras import ops

    initial = trainer.get_weights()
    trainer.compile(optimizer, loss, jit_compile=jit_compile)

    def inputs(batch):
        return {name: batch[name] for name in _INPUTS}

    def step(batch):
        trainer.train_on_batch(inputs(batch), batch[labels])
        after_step()

    def answer(batch):
        logits = trainer(
            {name: ops.convert_to_tensor(values) for name, values in inputs(batch).items()}, training=False
        )
        return np.reshape(ops.convert_to_numpy(loss(ops.convert_to_tensor(batch[labels]), logits)), [1])

    return Built(answer, step, reset=lambda: trainer.set_weights(initial))


def _ours(kind: str, jit_compile: bool = False) -> Callable[[Job], Built]:
    def build(job: Job) -> Built:
        set_up_keras(job, only_on="tensorflow" if jit_compile else "")
        import keras

        from powerbert_tf import load_classifier
        from powerbert_tf.models.classifier import with_retention
        from powerbert_tf.training.losses import distillation_loss
        from powerbert_tf.training.optimizer import BertAdam, WarmupLinearDecay

        model = load_classifier(job.folder, job.num_classes, job.max_length)
        labels, after_step = "labels", lambda: None
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if kind == "paper":
            model = model.with_slots(soft_extract=True, lambda_=1e-3)
        elif kind == "soft":
            model, after_step = _gated(model)
        elif kind == "re-training":
            model = with_retention(model, job.retention)
            labels, loss = "teacher", distillation_loss("logits")
        trainer = model if kind == "soft" else keras.Model(model.input, model.output)
        optimizer = BertAdam(WarmupLinearDecay(_RATE, _STEPS, 0.0), retention_rate_ratio=10.0)
        return _keras(trainer, optimizer, loss, labels, jit_compile, after_step)

    return build


def _gated(dense):
    """The soft search's model, and what its controller does after each step."""
    from powerbert_tf.latency.costs import Costs, count_costs
    from powerbert_tf.search.soft import WIDTH, BudgetController

    costs = Costs(
        count_costs(dense.config.encoder_size, dense.max_seq_length, batch_size=1),
        np.array([dense.max_seq_length]),
        dense.config.num_hidden_layers,
    )
    model, controller = dense.with_slots(gate_width=WIDTH), BudgetController(costs, _TARGET)
    controller.set_model(model)
    controller.on_train_begin()
    return model, lambda: controller.on_train_batch_end(0)


def _keras_hub(jit_compile: bool) -> Callable[[Job], Built]:
    def build(job: Job) -> Built:
        set_up_keras(job, only_on="tensorflow" if jit_compile else "")
        import keras
        import keras_hub

        backbone, head_weights = keras_hub_backbone(job)
        model = keras_hub.models.BertTextClassifier(backbone, job.num_classes)
        model.output_dense.set_weights(head_weights)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return _keras(model, keras.optimizers.Adam(_RATE), loss, "labels", jit_compile)

    return build


def _hugging_face(job: Job) -> Built:
    torch, model, precision = set_up_torch(job)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # As `transformers.Trainer` does by default; other than a loop over weights it is one pass over memory.
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, eps=1e-7, weight_decay=0.0, fused=True)
    scaler = torch.amp.GradScaler(model.device.type, enabled=job.precision == "mixed_float16")

    def loss_of(batch):
        labels = torch.from_numpy(batch["labels"].astype("int64")).to(model.device)
        with precision():
            return model(**torch_inputs(torch, batch, model.device), labels=labels).loss

    def answer(batch):
        model.eval()
        with torch.inference_mode():
            return loss_of(batch).float().cpu().numpy().reshape(1)

    def step(batch):
        model.train()
        optimizer.zero_grad()
        loss = loss_of(batch)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return Built(answer, step, reset=lambda: model.load_state_dict(initial))


ENGINES = {
    "ours, fine-tuning": Engine(("keras",), _ours("fine-tuning"), peer=False),
    "KerasHub": Engine(("keras_hub",), _keras_hub(False)),
    "Hugging Face, PyTorch": Engine(("transformers", "torch"), _hugging_face),
    "ours, search (paper)": Engine(("keras",), _ours("paper"), peer=False),
    "ours, search (soft)": Engine(("keras",), _ours("soft"), peer=False),
    "ours, re-training": Engine(("keras",), _ours("re-training"), peer=False, reduced=True),
    "ours, fine-tuning, XLA": Engine(("keras",), _ours("fine-tuning", jit_compile=True), peer=False),
    "KerasHub, XLA": Engine(("keras_hub",), _keras_hub(True)),
}


def check_training(batch: int, length: int, answers: Mapping[str, Mapping[str, Any]], tolerance: float) -> None:
    """Checks that engines with the same weights have the same loss, and that two steps on a batch lower it.

    Raises:
        RuntimeError: They have not, or do not.
    """
    check_agreement("training", batch, length, answers, tolerance)
    for name, answer in answers.items():
        (before,), (after,) = answer["answer"], answer["answer_after"]
        if not after < before:
            raise RuntimeError(f"batch {batch} x {length}: {name} trains nothing, its loss goes {before} -> {after}.")
