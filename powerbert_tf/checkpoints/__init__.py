"""Pretrained and fine-tuned weights from other tools: Google's, Hugging Face's and KerasHub's, matched by name.

Imports `common`, `elimination` and `models`. A new format is a file here with a `find` that returns a `Checkpoint`;
the names of weights belong into `names`.
"""

from powerbert_tf.checkpoints.checkpoint import Checkpoint
from powerbert_tf.checkpoints.load import find_checkpoint, load_classifier
from powerbert_tf.checkpoints.weights import assign_weights, named_weights

__all__ = [
    "Checkpoint",
    "assign_weights",
    "find_checkpoint",
    "load_classifier",
    "named_weights",
]
