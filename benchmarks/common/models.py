"""Models to measure: published sizes with random weights, and retention configurations for them."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.elimination.retention import parse_configuration, round_up
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.models.config import BertConfig, config_of


def _shape(num_hidden_layers: int, num_attention_heads: int, hidden_size: int) -> BertConfig:
    return BertConfig(
        vocab_size=30522,
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=512,
    )


_ALBERT = {"vocab_size": 30000, "embedding_size": 128, "hidden_act": "gelu_new"}
SHAPES = {
    "minilm": _shape(6, 12, 384),
    "bert_base": _shape(12, 12, 768),
    "bert_large": _shape(24, 16, 1024),
    "albert_base": config_of("albert", {**dataclasses.asdict(_shape(12, 12, 768)), **_ALBERT}),
}

# The published configuration of RTE, N = 256, as fractions: the same at 256, in proportion elsewhere.
_RTE = tuple(round_up(count / 256) for count in (153, 125, 111, 105, 85, 80, 72, 48, 35, 27, 22, 5))
RETENTION = {
    "bert_base": _RTE,
    "albert_base": _RTE,
    "minilm": (0.8885, 0.5781, 0.5781, 0.1763, 0.1763, 0.0006),  # calibrate, MRPC at twice the speed: docs/history.md
    "bert_large": tuple(fraction for fraction in _RTE for _ in range(2)),
}


def retention_of(shape: str, given: str, max_length: int) -> Sequence[float]:
    """The configuration that `--retention` gives, or without one that of the shape."""
    size = SHAPES[shape].num_hidden_layers
    return parse_configuration(given, size, max_length) if given else RETENTION[shape]


def with_fewer_multiply_adds(
    fractions: Sequence[float], size: EncoderSize, lengths: Sequence[int], times: float
) -> tuple[float, ...]:
    """Brings fractions to `times` fewer multiply-adds in the encoders, the mean over inputs of these lengths."""
    table = count_costs(size, max(lengths), batch_size=1)
    return fit_to_budget(fractions, Costs(table, np.array(lengths), size.num_encoders), times)


def write_random_checkpoint(folder: Path, config: BertConfig, num_classes: int, seed: int = 0) -> None:
    """Writes `config.json` and `model.safetensors` in Hugging Face's format, which every engine reads."""
    import keras

    from powerbert_tf.checkpoints import hugging_face, named_weights
    from powerbert_tf.models.classifier import BertClassifier

    keras.utils.set_random_seed(seed)
    model = BertClassifier(config, num_classes, config.max_position_embeddings)
    for weight in named_weights(model).values():
        array = weight.numpy()
        # Larger than at the start of training, so that attention is not uniform and a wrong axis would show.
        noise = 0.02 * np.random.default_rng(seed).normal(size=array.shape)
        weight.assign(2.0 * array if array.ndim == 2 else array + noise)
    hugging_face.write_checkpoint(folder, model, [str(number) for number in range(num_classes)])


def write_tiny_checkpoint(folder: Path, num_encoders: int = 2, intermediate_size: int = 128) -> Path:
    """Writes `<folder>/checkpoint` of width 32 with the default vocabulary, for runs whose answers do not matter."""
    from powerbert_tf.checkpoints import find_checkpoint

    sizes = {"num_hidden_layers": num_encoders, "intermediate_size": intermediate_size}
    config = dataclasses.replace(SHAPES["minilm"], num_attention_heads=2, hidden_size=32, **sizes)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    write_random_checkpoint(checkpoint, config, num_classes=2)
    shutil.copy(find_checkpoint().folder / "vocab.txt", checkpoint)
    return checkpoint
