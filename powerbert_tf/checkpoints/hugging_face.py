"""Hugging Face's format: `model.safetensors`."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from powerbert_tf.bert_config import BertConfig
from powerbert_tf.checkpoints.names import is_known_extra, weight_names
from powerbert_tf.checkpoints.weights import list_names
from powerbert_tf.errors import InputError

FILE = "model.safetensors"


def read_weights(folder: Path, config: BertConfig) -> dict[str, np.ndarray]:
    """Reads the weights of a `BertModel` or of a model built on one (tensor names with a leading `bert.`).

    Returns:
        Our path -> array; with `classifier/kernel` and `classifier/bias` where the checkpoint holds a head.

    Raises:
        InputError: The file is damaged, or holds a tensor that is no part of a BERT.
    """
    path = folder / FILE
    weights: dict[str, np.ndarray] = {}
    left_over: set[str] = set()
    rows = {name.hugging_face: name for name in weight_names(config)}
    try:
        with safe_open(path, framework="numpy") as tensors:
            for foreign in tensors.keys():  # noqa: SIM118 - not a mapping
                name = rows.get(_modern(foreign))
                if name is not None and name.ours not in weights:
                    array = tensors.get_tensor(foreign)
                    weights[name.ours] = array.T if name.hugging_face_transposed else array
                elif not is_known_extra(hugging_face=_modern(foreign)):
                    left_over.add(foreign)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read; damaged or truncated? ({error})") from None
    if left_over:
        raise InputError(f"{path}: holds tensors that are no part of this BERT: {list_names(left_over)}.")
    return {ours: array.astype("float32") for ours, array in weights.items()}


def _modern(foreign: str) -> str:
    """Without the prefix of the surrounding model, and with today's names of a LayerNorm's weights."""
    name = foreign.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
