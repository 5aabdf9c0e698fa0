"""The family on BERT's encoder: what tells one architecture from another is a row here.

Names of fields are `bert_config.BertConfig`'s; keys are those of the architecture's configuration file.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

WORD_PIECES, SENTENCE_PIECES, BYTE_PAIRS = "word_pieces", "sentence_pieces", "byte_pairs"


def _frozen(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


@dataclasses.dataclass(frozen=True)
class GoogleFiles:
    """Google's own release of an architecture.

    Attributes:
        config: Name of the configuration file.
        prefix: Of the checkpoint's files.
        spelled: Field -> its value as written -> as meant.
    """

    config: str
    prefix: str
    spelled: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A row.

    Attributes:
        title: What its authors call it.
        class_prefix: What the names of its classes in `transformers` begin with.
        tokenizer: One of `WORD_PIECES`, `SENTENCE_PIECES`, `BYTE_PAIRS`.
        fixed: Fields that the architecture itself decides.
        keys: Field -> key, where they differ.
        defaults: Fields that a file may leave out, where the default is not BERT's.
        required: Key -> the one value that is supported, where it is there; beside `REQUIRED`.
        tells_segments: Whether the second of two texts has a segment of its own.
        pretrains_pooler: Whether a checkpoint that was never fine-tuned has a pooler.
        google: Google's release, where there is one.
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


# Of each architecture: positions are rows of a table, and words see those after them.
REQUIRED = _frozen(position_embedding_type="absolute", is_decoder=False)
_OWN_WIDTH = _frozen(embedding_size=None)  # the embeddings are as wide as the encoders

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
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
            fixed=_frozen(shares_encoders=True, projects_embeddings=True),
            keys=_frozen(classifier_dropout="classifier_dropout_prob"),
            defaults=_frozen(embedding_size=128, classifier_dropout=0.1),
            required=_frozen(num_hidden_groups=1, inner_group_num=1),
            # What the release's own code calls gelu is the tanh approximation.
            google=GoogleFiles("albert_config.json", "model.ckpt-best", _frozen(hidden_act=_frozen(gelu="gelu_new"))),
        ),
        "distilbert": Architecture(
            title="DistilBERT",
            class_prefix="DistilBert",
            fixed=_frozen(type_vocab_size=0, pooler_act="relu", **_OWN_WIDTH),
            keys=_frozen(
                hidden_size="dim",
                num_hidden_layers="n_layers",
                num_attention_heads="n_heads",
                intermediate_size="hidden_dim",
                hidden_act="activation",
                hidden_dropout_prob="dropout",
                attention_probs_dropout_prob="attention_dropout",
                classifier_dropout="seq_classif_dropout",
            ),
            defaults=_frozen(classifier_dropout=0.2),
            tells_segments=False,
            pretrains_pooler=False,
        ),
        "roberta": Architecture(
            title="RoBERTa",
            class_prefix="Roberta",
            tokenizer=BYTE_PAIRS,
            # Rows 0 and 1 of the position table stand for what is no position: the padding token has id 1.
            fixed=_frozen(position_offset=2, dropout_before_pooler=True, **_OWN_WIDTH),
            required=_frozen(pad_token_id=1),
            tells_segments=False,
            pretrains_pooler=False,
        ),
        "electra": Architecture(
            title="ELECTRA",
            class_prefix="Electra",
            fixed=_frozen(pooler_act="gelu", dropout_before_pooler=True),
            defaults=_frozen(embedding_size=128),
            pretrains_pooler=False,
        ),
    }
)


def supported() -> str:
    """The architectures, for a message."""
    return ", ".join(f"{name} ({row.title})" for name, row in ARCHITECTURES.items())


def titles_of_google() -> str:
    """The architectures that Google has a release of, for a message."""
    return ", ".join(row.title for row in ARCHITECTURES.values() if row.google is not None)
