"""A model on every device of a `tf.distribute` strategy: trained and asked in step, each with its share of a batch.

Keras' own `fit` is not used there, as of Keras 3.15: it divides the loss of a share by the rows of the share, so that
rows of an uneven batch count more or less than others, clips gradients before they are added up, and reduces what steps
return over an axis that scalars do not have, where there are several processes. Here

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

from powerbert_tf.batches.batching import Batches
from powerbert_tf.batches.order import RowsOfBatches
from powerbert_tf.common.termination import agree, was_asked
from powerbert_tf.models.classifier import INPUTS
from powerbert_tf.training.distribution.copies import BringBack, Copies, copied, seed_states

_APART = 7919  # of the seeds of two replicas: with the same ones they would drop out the same


def shares(batches: Batches, replicas: int, own: range, size: int) -> Batches:
    """What some of the replicas take of each batch, one after the other.

    Args:
        batches: Of all replicas.
        replicas: R.
        own: Which of them.
        size: S, up to which each share is filled.
    """

    def share(number: int) -> np.ndarray:
        batch, place = divmod(number, len(own))
        return np.array_split(batches.rows[batch], replicas)[own[place]]

    rows = RowsOfBatches(share, range(len(batches.rows) * len(own)))
    return dataclasses.replace(batches, rows=rows, lengths=np.repeat(batches.lengths, len(own)), filled_to=size)


class SharedBatches:
    """Batches, of which each replica gets its share; an iterable of what `strategy.run` takes.

    Args:
        batches: Of all replicas.
        batch_size: B, of the largest one.
        strategy: Of the replicas.
        with_labels: See `Batches.dataset`; without, the numbers of the rows come with the inputs, -1 for filled ones.
    """

    def __init__(self, batches: Batches, batch_size: int, strategy: tf.distribute.Strategy, with_labels: bool):
        self._count = len(batches.rows)
        replicas = strategy.num_replicas_in_sync
        size = math.ceil(batch_size / replicas)

        def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            part = shares(batches, replicas, range(first, first + local), size)
            dataset = part.dataset(with_labels)
            if with_labels:
                return dataset
            numbers = np.full((len(part.rows), size), -1, "int64")
            for row, share in zip(numbers, part.rows, strict=True):
                row[: len(share)] = share
            return tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(numbers))

        self._dataset = strategy.distribute_datasets_from_function(of_process)

    def __iter__(self) -> Any:  # an iterator that knows its `element_spec`
        return iter(self._dataset)

    def cardinality(self) -> int:
        """Number of batches."""
        return self._count


class ReplicaTrainer:
    """Trains a copy of a model on every device.

    Attributes:
        model: The copy, compiled, for callbacks.
        callbacks: First ones: they bring the copy's weights back after each epoch.

    Args:
        source: What is trained in the end.
        head: Makes of the copy what is to be compiled.
        strategy: Of the devices.
        make_optimizer: Makes a `BertAdam`.
        loss: Of a share's rows, with the reduction `distillation.REDUCTION`.
        batch_size: B.
        waited: Is told how many seconds each batch took to come.
    """

    def __init__(
        self,
        source: keras.Model,
        head: Callable[[Any], keras.Model],
        strategy: tf.distribute.Strategy,
        make_optimizer: Callable[[], keras.optimizers.Optimizer],
        loss: keras.losses.Loss,
        batch_size: int,
        waited: Callable[[float], None],
    ):
        self._strategy = strategy
        self._batch_size = batch_size
        copy = copied(source, strategy.scope())
        with strategy.scope():
            self.model = head(copy)
            optimizer = make_optimizer()
            optimizer.sums_gradients = False
            if self.model.dtype_policy.name == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(self.model.trainable_variables)
        # The metric of the loss stays out of the scope: it is updated once a step, with the loss of all replicas, and
        # can be read by the chief alone.
        self.model.compile(optimizer, loss, jit_compile=False)
        self.model.train_function = _Step(self.model, strategy, batch_size, waited)
        self.callbacks = [BringBack(copy, source)]

    def batches(self, batches: Batches) -> SharedBatches:
        """With labels."""
        return SharedBatches(batches, self._batch_size, self._strategy, with_labels=True)

    def measured_batches(self, batches: Batches) -> SharedBatches:
        """What `fit` takes; its steps measure how long they wait."""
        return self.batches(batches)

    def fit(
        self,
        batches: SharedBatches,
        *,
        initial_epoch: int,
        epochs: int,
        steps_per_epoch: int,
        callbacks: keras.callbacks.CallbackList,
        **_: Any,
    ) -> None:
        """As `keras.Model.fit`."""
        model = self.model
        model.stop_training = False
        with self._strategy.scope():  # what a step reads must be made there
            callbacks.on_train_begin()
        iterator = iter(batches)
        for epoch in range(initial_epoch, epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            for step in range(steps_per_epoch):
                callbacks.on_train_batch_begin(step)
                callbacks.on_train_batch_end(step, model.train_function(iterator))
                if model.stop_training:
                    break
            callbacks.on_epoch_end(epoch, model.get_metrics_result())
            if model.stop_training:
                break
        callbacks.on_train_end()


class _Step:
    """A training step on all replicas: takes an iterator over `SharedBatches`, returns `{"loss": ...}`."""

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        waited: Callable[[float], None],
    ):
        self._model = model
        self._strategy = strategy
        self._batch_size = batch_size
        self._waited = waited
        self._function: Callable[..., Any] | None = None

    def __call__(self, iterator: Any) -> dict[str, tf.Tensor]:
        if self._function is None:
            # One trace for all lengths; a TPU wants to know each.
            is_tpu = isinstance(self._strategy, tf.distribute.TPUStrategy)
            flag = tf.TensorSpec([], tf.float32)
            signature = None if is_tpu else [iterator.element_spec, flag]
            self._function = tf.function(self._run, input_signature=signature, autograph=False)
        began = time.perf_counter()
        batch = next(iterator)
        self._waited(time.perf_counter() - began)
        loss, leave = self._function(batch, tf.constant(float(was_asked())))
        if float(leave):
            agree()
        return {"loss": loss}

    def _run(self, batch, leave):
        strategy = self._strategy
        losses, rows, leaving = strategy.run(self._on_replica, args=(*batch, leave))
        loss, rows, leaving = (
            strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in (losses, rows, leaving)
        )
        (tracker,) = self._model.metrics
        tracker.update_state(loss, sample_weight=rows)  # as Keras weighs the batches of an epoch
        return tracker.result(), leaving

    def _on_replica(self, inputs, labels, weights, leave):
        model, optimizer = self._model, self._model.optimizer
        context = tf.distribute.get_replica_context()
        rows = tf.reduce_sum(weights)
        share = rows / context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
        # A share without rows counts nothing, and must not divide by 0.
        weights = tf.where(rows > 0, weights, tf.ones_like(weights))
        states = seed_states(model)
        apart = [tf.cast([_APART * context.replica_id_in_sync_group, 0], state.dtype) for state in states]
        for state, shift in zip(states, apart, strict=True):
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
        for state, shift in zip(states, apart, strict=True):
            state.assign_sub(shift)
        trained = [place for place, gradient in enumerate(gradients) if gradient is not None]
        summed = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(gradients[place]) for place in trained]
        )
        optimizer.apply(
            [None if gradients[place] is None else summed[trained.index(place)] for place in range(len(gradients))],
            variables,
        )
        return loss, rows, tf.identity(leave)


_copies = Copies()


def predict_on_replicas(
    model: keras.Model, batches: Batches, batch_size: int, strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Logits `[n, C]` in the order of the split, on all replicas; each process gets all of them.

    Args:
        model: A `BertClassifier`, which may have been trained since the last call.
        batches: Each row in one of them.
        batch_size: B, of the largest one.
        strategy: Of the replicas.
    """
    iterator = iter(SharedBatches(batches, batch_size, strategy, with_labels=False))
    spec = iterator.element_spec
    function = _copies.function(model, strategy.scope(), lambda copy: _predicting(copy, strategy, spec))
    logits = None
    for _ in batches.rows:
        numbers, values = (part.numpy() for part in function(next(iterator)))
        if logits is None:
            logits = np.empty((len(batches.encoded), values.shape[-1]), values.dtype)
        logits[numbers[numbers >= 0]] = values[numbers >= 0]
    if logits is None:
        raise ValueError("no batches; expected at least one.")
    return logits


def _predicting(model: keras.Model, strategy: tf.distribute.Strategy, spec: Any) -> Callable[..., Any]:
    def on_replica(inputs, numbers):
        return numbers, model({name: inputs[name] for name in INPUTS}, training=False)

    def run(batch):
        # All replicas' numbers come in the same order as their logits, whichever that is.
        return tuple(strategy.gather(part, axis=0) for part in strategy.run(on_replica, args=batch))

    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return tf.function(run, input_signature=None if is_tpu else [spec], autograph=False)
