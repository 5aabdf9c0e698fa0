"""A `.keras` file that `model.save` wrote of one of this package's models; the tokenizer's files lie beside it."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from powerbert_tf.checkpoints.checkpoint import Checkpoint
from powerbert_tf.checkpoints.names import weight_names
from powerbert_tf.checkpoints.weights import in_one_width, named_weights
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.models.classifier import BertClassifier

FILE = ".keras"  # the suffix of Keras' own files


def is_meant(checkpoint: Any) -> bool:
    """Whether this is a `.keras` file of one of this package's models; other ones are KerasHub's to read."""
    if isinstance(checkpoint, keras.layers.Layer):
        return False
    text = os.fspath(checkpoint)
    if not text.endswith(FILE) or not os.path.isfile(text):
        return False
    try:
        with zipfile.ZipFile(text) as file:
            content = json.loads(file.read("config.json"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False
    return isinstance(content, dict) and str(content.get("module") or "").startswith("powerbert_tf")


def find(path: Path) -> Checkpoint:
    """Finds the checkpoint in a file: weights, sizes and N of its model, without what the model eliminates.

    Raises:
        InputError: The file cannot be read, or holds another model than a classifier.
    """
    try:
        model = keras.saving.load_model(path, compile=False)  # in Keras' safe mode, which runs no code in the file
    except Exception as error:  # of a damaged file, of layers of one's own and so on
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {first_line(error)}).") from None
    if not isinstance(model, BertClassifier):
        raise InputError(f"{path}: a {type(model).__name__}; expected a BertClassifier.")
    if model.retention_configuration is not None:
        say(f"  checkpoint {path}: only its weights are taken; --retention_configuration gives its configuration")
    wide = in_one_width(model)
    return Checkpoint(
        os.path.abspath(path),
        path.absolute().parent,
        wide.config,
        lambda: _weights_of(wide),
        max_seq_length=model.max_seq_length,
    )


def _weights_of(model: BertClassifier) -> dict[str, np.ndarray]:
    weights = named_weights(model)
    return {name.ours: weights[name.ours].numpy() for name in weight_names(model.config)}
