"""Checkpoints of random weights in Hugging Face's format, which every engine reads."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from powerbert_tf.checkpoints import hugging_face, named_weights
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, config_of


def _shape(num_hidden_layers: int, num_attention_heads: int, hidden_size: int) -> BertConfig:
    return BertConfig(
        vocab_size=30522,
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        intermediate_size=4 * hidden_size,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=512,
        type_vocab_size=2,
        initializer_range=0.02,
    )


def _albert(num_attention_heads: int, hidden_size: int) -> BertConfig:
    sizes = dataclasses.asdict(_shape(12, num_attention_heads, hidden_size))
    return config_of("albert", {**sizes, "vocab_size": 30000, "embedding_size": 128, "hidden_act": "gelu_new"})


SHAPES = {
    "minilm": _shape(6, 12, 384),
    "bert_base": _shape(12, 12, 768),
    "bert_large": _shape(24, 16, 1024),
    "albert_base": _albert(12, 768),
}


def write_random_checkpoint(folder: Path, config: BertConfig, num_classes: int, seed: int = 0) -> None:
    """Writes `config.json` and `model.safetensors`.

    Args:
        folder: An existing folder.
        config: Sizes.
        num_classes: C.
        seed: Of the weights.
    """
    keras.utils.set_random_seed(seed)
    model = BertClassifier(config, num_classes, config.max_position_embeddings)
    for weight in named_weights(model).values():
        array = weight.numpy()
        # Larger than at the start of training, so that attention is not uniform and a wrong axis would show.
        noise = 0.02 * np.random.default_rng(seed).normal(size=array.shape)
        weight.assign(2.0 * array if array.ndim == 2 else array + noise)
    hugging_face.write_checkpoint(folder, model, [str(number) for number in range(num_classes)])
