"""Pretrained and fine-tuned BERT weights from other tools, by name, strictly."""

from powerbert_tf.checkpoints.load import DEFAULT_PACKAGE, Checkpoint, find_checkpoint, load_classifier
from powerbert_tf.checkpoints.weights import assign_weights, named_weights

__all__ = [
    "DEFAULT_PACKAGE",
    "Checkpoint",
    "assign_weights",
    "find_checkpoint",
    "load_classifier",
    "named_weights",
]
