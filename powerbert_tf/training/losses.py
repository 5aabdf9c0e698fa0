"""Losses: the task's, with or without class weights, and those that make a reduced model answer as the full one."""

import keras
from keras import ops

from powerbert_tf.data.kinds import CLASSES, LABELS, NUMBER, Kind
from powerbert_tf.data.tasks import Task

_TEMPERATURE = 2.0

# Of every loss: the mean over the examples of a batch, without those of weight 0 that fill it up.
REDUCTION = "mean_with_sample_weight"


@keras.saving.register_keras_serializable("powerbert_tf")
class KlDivergence(keras.losses.Loss):
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the usual distillation loss (Hinton et al., 2015).

    T is the temperature; the factor T^2 keeps the size of gradients.
    """

    def __init__(self, temperature=_TEMPERATURE, name="kl_divergence", reduction=REDUCTION, **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        """Logits `[B, C]` of teacher and student -> `[B]`."""
        teacher = ops.log_softmax(y_true / self.temperature, axis=-1)
        student = ops.log_softmax(y_pred / self.temperature, axis=-1)
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("powerbert_tf")
class BinaryKlDivergence(KlDivergence):
    """The same with a sigmoid in place of the softmax: the mean over labels, each of which is there or not."""

    def __init__(self, temperature=_TEMPERATURE, name="binary_kl_divergence", **kwargs):
        super().__init__(temperature, name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Logits `[B, C]` of teacher and student -> `[B]`."""
        teacher, student = y_true / self.temperature, y_pred / self.temperature
        # 1 - sigmoid(x) is sigmoid(-x).
        there, absent = (
            ops.sigmoid(sign * teacher) * (ops.log_sigmoid(sign * teacher) - ops.log_sigmoid(sign * student))
            for sign in (1.0, -1.0)
        )
        return self.temperature**2 * ops.mean(there + absent, axis=-1)


_KL = {CLASSES: KlDivergence, LABELS: BinaryKlDivergence}


def distillation_loss(distillation: str, kind: Kind = CLASSES) -> keras.losses.Loss:
    """The loss against the teacher's logits `[B, C]`: `"logits"` for the squared difference, or `"kl"`."""
    return keras.losses.MeanSquaredError(reduction=REDUCTION) if distillation == "logits" else _KL[kind]()


def answer_distance(kind: Kind) -> keras.losses.Loss:
    """How far the answers of a model are from another one's, logits `[B, C]` of both: see `kinds.Kind.distances`."""
    return keras.losses.MeanSquaredError(reduction=REDUCTION) if kind is NUMBER else _KL[kind](temperature=1.0)


@keras.saving.register_keras_serializable("powerbert_tf")
class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits `[B, C]` against class numbers `[B]`, weighted by `class_weights` `[C]`."""

    def __init__(self, class_weights, name="weighted_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.class_weights = tuple(class_weights)

    def call(self, y_true, y_pred):
        """Class numbers `[B]` and logits `[B, C]` -> `[B]`."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        weights = ops.convert_to_tensor(self.class_weights, dtype=losses.dtype)
        return losses * ops.take(weights, labels)

    def get_config(self):
        return {**super().get_config(), "class_weights": self.class_weights}


def task_loss(task: Task) -> keras.losses.Loss:
    """The loss of logits `[B, C]` against labels `[B]`, or `[B, C]` of 0 and 1 for a multi-label task."""
    if task.kind is NUMBER:
        return keras.losses.MeanSquaredError(reduction=REDUCTION)
    if task.kind is LABELS:
        return keras.losses.BinaryCrossentropy(from_logits=True, reduction=REDUCTION)
    if task.class_weights:
        return WeightedCrossEntropy(task.class_weights, reduction=REDUCTION)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=REDUCTION)
