"""Sizes of BERT and its family, from Google's configuration files or Hugging Face's `config.json`."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object
from powerbert_tf.elimination.operations import EncoderSize
from powerbert_tf.models.architectures import ARCHITECTURES, REQUIRED, supported

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh")
# Other names of the same functions in `transformers`.
_SAME_ACTIVATIONS = {"gelu_python": "gelu", "gelu_fast": "gelu_new", "swish": "silu"}

_MOST_WEIGHTS = 10**10  # thirty times BERT-large: more is a mistake, or meant to fill a machine's memory
_MOST_ENCODERS = 1000
_LARGEST_SIZE = 10**15  # larger sizes overflow when they are multiplied as floats

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
# Field -> the smallest value.
_COUNTS = dict.fromkeys((*_SIZES, "embedding_size"), 1) | {
    "type_vocab_size": 0,
    "position_offset": 0,
    "pad_token_id": 0,
}
_FLAGS = ("projects_embeddings", "shares_encoders", "dropout_before_pooler")
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
_NOT_IN_FILES = ("architecture", "head_size", "neurons", "heads")
_MAY_BE_NONE = ("embedding_size", "pad_token_id", "projects_embeddings", "classifier_dropout")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and constants of a classifier, under the names of BERT's configuration file.

    Attributes:
        type_vocab_size: Number of segments; with 1 every row has the same, with 0 there is no table.
        architecture: A row of `architectures.ARCHITECTURES`, which decides the names of weights in checkpoints.
        embedding_size: Columns of the embedding tables; None for `hidden_size`.
        projects_embeddings: Whether a dense layer projects embeddings to `hidden_size`; None: if the sizes differ.
        position_offset: Row of the position table for the first token.
        shares_encoders: Whether all encoders have the same weights.
        pooler_act: Activation of the dense layer between [CLS] and the head.
        dropout_before_pooler: Whether dropout acts before that layer, too, and not only after it.
        classifier_dropout: Rate of that dropout; None for `hidden_dropout_prob`.
        pad_token_id: Id of the padding token; None if the file does not say.
        head_size: D, columns of a head's queries, keys and values; None for `hidden_size / num_attention_heads`.
        neurons: Neurons of each encoder's feed-forward network, at most `intermediate_size`; None for all of them.
        heads: Attention heads of each encoder, at most `num_attention_heads`; None for all of them.

    Raises:
        InputError: A size is out of range, the weights would be too many, heads do not divide the hidden size, an
            activation is unknown, a rate is outside [0, 1), or the widths of encoders do not fit.
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
    architecture: str = "bert"
    embedding_size: int | None = None
    projects_embeddings: bool | None = None
    position_offset: int = 0
    shares_encoders: bool = False
    pooler_act: str = "tanh"
    dropout_before_pooler: bool = False
    classifier_dropout: float | None = None
    pad_token_id: int | None = None
    head_size: int | None = None
    neurons: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    def __post_init__(self):
        given = {name: value for name, value in vars(self).items() if value is not None or name not in _MAY_BE_NONE}
        for name, least in _COUNTS.items():
            if name in given:
                _require_count(name, given[name], least)
        for name in _FLAGS:
            if not isinstance(given.get(name, False), bool):
                raise InputError(f"{name}={given[name]!r}; expected true or false.")
        if self.num_hidden_layers > _MOST_ENCODERS:
            raise InputError(f"num_hidden_layers={self.num_hidden_layers}; expected at most {_MOST_ENCODERS}.")
        if self.head_size is None and self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}."
            )
        for name, widest in (("neurons", self.intermediate_size), ("heads", self.num_attention_heads)):
            # Lists come from JSON. Where all are the widest, nothing is narrowed.
            widths = getattr(self, name)
            widths = None if widths is None else self._checked_widths(name, tuple(widths), widest)
            object.__setattr__(self, name, widths)
        if self.num_weights > _MOST_WEIGHTS:
            raise InputError(
                f"hidden_size={self.hidden_size}, vocab_size={self.vocab_size} and the other sizes ask for about "
                f"{self.num_weights:.0e} weights; expected at most {_MOST_WEIGHTS:.0e}."
            )
        if self.max_length < 1:
            raise InputError(
                f"max_position_embeddings={self.max_position_embeddings}; expected more than {self.position_offset}."
            )
        for name in ("hidden_act", "pooler_act"):
            if getattr(self, name) in _SAME_ACTIVATIONS:
                object.__setattr__(self, name, _SAME_ACTIVATIONS[getattr(self, name)])
            if getattr(self, name) not in ACTIVATIONS:
                raise InputError(f"{name}={getattr(self, name)!r}; expected one of {', '.join(ACTIVATIONS)}.")
        for name in _RATES:
            rate = given.get(name, 0.0)
            if not _is_number(rate) or not 0 <= rate < 1:
                raise InputError(f"{name}={rate!r}; expected a rate in [0, 1).")
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value <= 1:
                raise InputError(f"{name}={value!r}; expected a positive number of at most 1.")

    def _checked_widths(self, name: str, widths: tuple[int, ...], widest: int) -> tuple[int, ...] | None:
        where = f"{name}={','.join(map(str, widths))}"
        if len(widths) != self.num_hidden_layers:
            raise InputError(
                f"{where}: {len(widths)} entries; expected {self.num_hidden_layers}, one for each encoder."
            )
        for width in widths:
            if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= widest:
                raise InputError(f"{where}: has {width!r}; expected whole numbers from 1 to {widest}.")
        if self.shares_encoders and len(set(widths)) > 1:
            raise InputError(f"{where}: all encoders have the same weights; expected the same number for each.")
        return None if set(widths) == {widest} else widths

    def of_encoder(self, index: int) -> "BertConfig":
        """The configuration of one encoder, whose sizes are those of its own width."""
        return dataclasses.replace(
            self,
            intermediate_size=self.encoder_neurons[index],
            num_attention_heads=self.encoder_heads[index],
            head_size=self.head_columns if self.heads else self.head_size,
            neurons=None,
            heads=None,
        )

    @property
    def encoder_neurons(self) -> tuple[int, ...]:
        """Neurons of each encoder's feed-forward network."""
        return self.neurons or (self.intermediate_size,) * self.num_hidden_layers

    @property
    def encoder_heads(self) -> tuple[int, ...]:
        """Attention heads of each encoder."""
        return self.heads or (self.num_attention_heads,) * self.num_hidden_layers

    @property
    def is_narrowed(self) -> bool:
        """Whether an encoder has fewer neurons or heads than the checkpoint."""
        return self.neurons is not None or self.heads is not None

    @property
    def head_columns(self) -> int:
        """D, columns of a head's queries, keys and values."""
        return self.head_size or self.hidden_size // self.num_attention_heads

    @property
    def attention_size(self) -> int:
        """Columns of the outputs of all heads."""
        return self.num_attention_heads * self.head_columns

    @property
    def embedding_width(self) -> int:
        """Columns of the embedding tables."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def has_projection(self) -> bool:
        """Whether a dense layer is between embeddings and encoders."""
        if self.projects_embeddings is None:
            return self.embedding_width != self.hidden_size
        return self.projects_embeddings

    @property
    def max_length(self) -> int:
        """The largest number of tokens that have a position."""
        return self.max_position_embeddings - self.position_offset

    @property
    def num_encoder_weights(self) -> int:
        """The number of encoders with weights of their own."""
        return 1 if self.shares_encoders else self.num_hidden_layers

    @property
    def num_weights(self) -> int:
        """Roughly the number of weights, rather too large than too small."""
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size + self.hidden_size
        encoders = [
            4 * self.hidden_size * size.columns + 2 * self.hidden_size * size.intermediate_size
            for size in self.encoder_size.encoders
        ]
        return rows * self.embedding_width + sum(encoders[: self.num_encoder_weights]) + max(encoders)

    @property
    def encoder_size(self) -> EncoderSize:
        """The sizes that `elimination.operations` needs."""
        heads = None if self.heads is None else tuple(number * self.head_columns for number in self.heads)
        return EncoderSize(
            self.num_hidden_layers,
            self.hidden_size,
            self.intermediate_size,
            self.attention_size,
            self.neurons,
            heads,
            self.num_attention_heads,
        )


def _require_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}={value!r}; expected a whole number of at least {least}.")
    if value > _LARGEST_SIZE:
        raise InputError(f"{name}={value}; expected at most {_LARGEST_SIZE}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def config_of(architecture: str, values: Mapping[str, Any]) -> BertConfig:
    """Turns the content of a configuration file into a `BertConfig`, and ignores unknown keys.

    Args:
        architecture: Name of a row of `ARCHITECTURES`.
        values: Content of the file.

    Raises:
        InputError: The architecture is unknown, a size is missing, or a value is not supported.
    """
    row = ARCHITECTURES.get(architecture)
    if row is None:
        raise InputError(f"model_type={architecture!r} is not supported; expected one of {supported()}.")
    for key, value in {**REQUIRED, **row.required}.items():
        if values.get(key, value) != value:
            raise InputError(f"{key}={values[key]!r} is not supported for {row.title}; expected {value!r}.")
    fields = dataclasses.fields(BertConfig)
    keys = {field.name: row.keys.get(field.name, field.name) for field in fields if field.name not in row.fixed}
    found = {name: values[key] for name, key in keys.items() if key in values and name not in _NOT_IN_FILES}
    known = {**row.defaults, **found, **row.fixed, "architecture": architecture}
    missing = [keys[field.name] for field in fields if field.default is dataclasses.MISSING and field.name not in known]
    if missing:
        raise InputError(f"lacks {', '.join(missing)}.")
    return BertConfig(**known)


def read_bert_config(path: str | os.PathLike[str], architecture: str | None = None) -> BertConfig:
    """Reads a configuration file.

    Args:
        path: The file.
        architecture: Given by the file's name in Google's releases; None to read it from the content.

    Raises:
        InputError: The file is missing or damaged, or its content is not supported. The message names the file.
    """
    path = Path(path)
    try:
        values = read_object(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a checkpoint needs its configuration.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); a checkpoint needs its configuration.") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    release = None if architecture is None else ARCHITECTURES[architecture].google
    try:
        config = config_of(architecture or _model_type(values), values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if release is None:
        return config
    meant = {name: words.get(getattr(config, name), getattr(config, name)) for name, words in release.spelled.items()}
    return dataclasses.replace(config, **meant)


def _model_type(values: Mapping[str, Any]) -> str:
    """The key `model_type`; in files older than that key, the first part of the name of the model's class."""
    if "model_type" in values:
        return str(values["model_type"])
    classes = values.get("architectures") or ["Bert"]
    if not isinstance(classes, list):
        raise InputError(f"architectures={classes!r}; expected a list of names of classes.")
    return str(classes[0]).split("For")[0].removesuffix("Model").lower()
