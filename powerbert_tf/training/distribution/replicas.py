"""A copy of the model on every device of a `tf.distribute` strategy; each trains and evaluates its share of a batch.

Keras' own `fit` is not used here, as of Keras 3.15: it divides the loss of a share by the rows of the share, so that
rows of an uneven batch weigh differently; it clips gradients before they are added up; and with several processes it
reduces what steps return over an axis that scalars do not have. Here

    loss = sum over replicas of  (rows of the share / rows of the batch) * mean over the share  + penalties,

which is the loss of one device, and gradients are added up before anything else is done to them.

Axes: `R` replicas, `B` rows of a batch, `S` rows of a share, `T` padded length, `C` classes.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.batches.padded_batches import Batches
from powerbert_tf.models.classifier import INPUTS
from powerbert_tf.training.distribution.copies import BringBack, Copies, copied, seed_states
from powerbert_tf.training.distribution.devices import Devices, Trainer, TrainingStep

_SEED_STEP = 7919  # between the seeds of two replicas, which must not drop out the same


def shares(batches: Batches, replicas: int, own: range, size: int) -> Batches:
    """The shares of each batch that `own`, some of the R replicas, take one after the other, filled up to S rows."""

    def share(number: int) -> np.ndarray:
        batch, place = divmod(number, len(own))
        return np.array_split(batches.rows(batch), replicas)[own[place]]

    numbers, lengths = np.arange(len(batches) * len(own)), np.repeat(batches.lengths, len(own))
    return dataclasses.replace(batches, rows_of=share, numbers=numbers, lengths=lengths, filled_to=size)


def _shared_dataset(batches: Batches, batch_size: int, strategy: tf.distribute.Strategy, with_labels: bool) -> Any:
    """What `strategy.run` takes: a share of each batch, of up to B rows, for each replica.

    For `with_labels` see `Batches.dataset`; without labels, inputs come with their row numbers, -1 for filled rows.
    """
    replicas = strategy.num_replicas_in_sync
    size = math.ceil(batch_size / replicas)

    def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        part = shares(batches, replicas, range(first, first + local), size)
        dataset = part.dataset(with_labels)
        if with_labels:
            return dataset
        numbers = np.full((len(part), size), -1, "int64")
        for at, filled in enumerate(numbers):
            filled[: len(part.rows(at))] = part.rows(at)
        return tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(numbers))

    return strategy.distribute_datasets_from_function(of_process)


class Replicas(Devices):
    """The devices of a `tf.distribute` strategy."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.count = strategy.num_replicas_in_sync
        self._strategy = strategy
        self._copies = Copies()

    def trainer(self, step: TrainingStep) -> Trainer:
        return ReplicaTrainer(self._strategy, step)

    def _answers(self, model, batches, batch_size, jit_compile):
        iterator = iter(_shared_dataset(batches, batch_size, self._strategy, with_labels=False))
        spec = iterator.element_spec
        function = self._copies.function(model, self._strategy.scope(), lambda copy: self._predicting(copy, spec))
        for _ in range(len(batches)):
            numbers, values = (part.numpy() for part in function(next(iterator)))
            yield numbers[numbers >= 0], values[numbers >= 0]

    def _predicting(self, model: keras.Model, spec: Any) -> Callable[..., Any]:
        strategy = self._strategy

        def on_replica(inputs, numbers):
            return numbers, model({name: inputs[name] for name in INPUTS}, training=False)

        def run(batch):
            # All replicas' numbers come in the same order as their logits, whichever that is.
            return tuple(strategy.gather(part, axis=0) for part in strategy.run(on_replica, args=batch))

        return _traced_once(run, strategy, spec)


def _traced_once(run: Callable[..., Any], strategy: tf.distribute.Strategy, spec: Any) -> Callable[..., Any]:
    """A graph of `run`, with one trace for all lengths; a TPU needs one for each."""
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return tf.function(run, input_signature=None if is_tpu else [spec], autograph=False)


class ReplicaTrainer(Trainer):
    """Trains a copy of a model on every device; its weights come back to the model after each epoch."""

    def __init__(self, strategy: tf.distribute.Strategy, step: TrainingStep):
        self._strategy = strategy
        self._batch_size = step.batch_size
        self._input_wait = step.input_wait
        self._function: Callable[..., Any] | None = None
        copy = copied(step.source, strategy.scope())
        with strategy.scope():
            self.model = step.model_of(copy)
            optimizer = step.make_optimizer()
            optimizer.sums_gradients = False
            if self.model.dtype_policy.name == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(self.model.trainable_variables)
        # The metric of the loss stays out of the scope: it is updated once a step, with the loss of all replicas, and
        # the chief can read it alone.
        self.model.compile(optimizer, step.loss, jit_compile=False)
        self.model.train_function = self._train_step
        self.callbacks = [BringBack(copy, step.source)]

    def dataset(self, batches: Batches) -> Any:
        return _shared_dataset(batches, self._batch_size, self._strategy, with_labels=True)

    def fit(self, batches: Batches, **kwargs: Any) -> None:
        model, callbacks = self.model, kwargs["callbacks"]
        model.stop_training = False
        with self._strategy.scope():  # variables that a step reads must be made there
            callbacks.on_train_begin()
        iterator = iter(self.dataset(batches))
        for epoch in range(kwargs["initial_epoch"], kwargs["epochs"]):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            for step in range(kwargs["steps_per_epoch"]):
                callbacks.on_train_batch_begin(step)
                callbacks.on_train_batch_end(step, model.train_function(iterator))
                if model.stop_training:
                    break
            callbacks.on_epoch_end(epoch, model.get_metrics_result())
            if model.stop_training:
                break
        callbacks.on_train_end()

    def _train_step(self, iterator: Any) -> dict[str, tf.Tensor]:
        """A step on all replicas: takes an iterator over `dataset`, returns the mean loss of the epoch so far."""
        if self._function is None:
            self._function = _traced_once(self._run, self._strategy, iterator.element_spec)
        began = time.perf_counter()
        batch = next(iterator)
        self._input_wait.add(time.perf_counter() - began)
        return {"loss": self._function(batch)}

    def _run(self, batch):
        strategy = self._strategy
        loss, rows = (
            strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for value in strategy.run(self._on_replica, args=batch)
        )
        (tracker,) = self.model.metrics
        tracker.update_state(loss, sample_weight=rows)  # as Keras weighs the batches of an epoch
        return tracker.result()

    def _on_replica(self, inputs, labels, weights):
        model, optimizer = self.model, self.model.optimizer
        context = tf.distribute.get_replica_context()
        rows = tf.reduce_sum(weights)
        share = rows / context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
        # A share without rows counts nothing, and must not divide by 0.
        weights = tf.where(rows > 0, weights, tf.ones_like(weights))
        states = seed_states(model)
        shifts = [tf.cast([_SEED_STEP * context.replica_id_in_sync_group, 0], state.dtype) for state in states]
        for state, shift in zip(states, shifts, strict=True):
            state.assign_add(shift)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            # Keras divides by the number of replicas what it takes for their mean.
            replicas = float(context.num_replicas_in_sync)
            loss = replicas * model.compute_loss(inputs, labels, outputs, weights, training=True)
            if penalties := model.losses:
                penalty = tf.add_n(penalties)
                loss = share * (loss - penalty) + penalty / replicas
            else:
                loss = share * loss
            scaled = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        for state, shift in zip(states, shifts, strict=True):
            state.assign_sub(shift)
        trained = [place for place, gradient in enumerate(gradients) if gradient is not None]
        summed = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(gradients[place]) for place in trained]
        )
        for place, gradient in zip(trained, summed, strict=True):
            gradients[place] = gradient
        optimizer.apply(gradients, variables)
        return loss, rows
