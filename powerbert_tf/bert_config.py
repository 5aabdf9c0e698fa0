"""BERT's sizes, from `bert_config.json` (Google) or `config.json` (Hugging Face)."""

import dataclasses
import json
import os
from pathlib import Path

from powerbert_tf.errors import InputError
from powerbert_tf.retention import EncoderSize

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh")

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and constants of a BERT, under the names of its configuration file.

    Raises:
        InputError: A size below 1, heads that do not divide the hidden size, an unknown activation, or a rate outside
            [0, 1).
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12

    def __post_init__(self):
        for name in _SIZES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}; expected a whole number of at least 1.")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}."
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act={self.hidden_act!r}; expected one of {', '.join(ACTIVATIONS)}.")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise InputError(f"{name}={value!r}; expected a rate in [0, 1).")
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"{name}={value!r}; expected a positive number.")

    @property
    def encoder_size(self) -> EncoderSize:
        """What `powerbert_tf.retention.multiply_adds` wants to know."""
        return EncoderSize(self.num_hidden_layers, self.hidden_size, self.intermediate_size)


def read_bert_config(path: str | os.PathLike[str]) -> BertConfig:
    """Reads a configuration file; keys that are no concern of BERT's encoder are passed over.

    Raises:
        InputError: The file is missing, no JSON object, lacks a size, describes another architecture than BERT, or
            holds a value that `BertConfig` refuses. The message names the file.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a checkpoint needs its configuration.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}.")
    architecture = values.get("model_type", "bert")
    if architecture != "bert":
        raise InputError(f"{path}: model_type={architecture!r} is not supported; expected 'bert'.")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{path}: position_embedding_type={values['position_embedding_type']!r} is not supported; "
            "expected 'absolute'."
        )
    fields = {field.name: field for field in dataclasses.fields(BertConfig)}
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}.")
    try:
        return BertConfig(**{name: value for name, value in values.items() if name in fields})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
