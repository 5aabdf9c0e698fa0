"""KerasHub's models small enough for tests: an implementation that is none of ours.

The sizes are distinct primes: embeddings 11, others as in `tiny_bert`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny_pieces import sample_texts, train_sentence_pieces, write_byte_pairs

keras_hub = pytest.importorskip("keras_hub")

NUM_CLASSES = 7
_SIZES = {
    "num_layers": 3, "num_heads": 5, "hidden_dim": 35, "intermediate_dim": 29, "max_sequence_length": 31,
    "dropout": 0.1,
}  # fmt: skip
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "##a", "##b", "##c", "##d", "fé", "fe", "é",
    "é" "##é", "!", "?", ",", ".", "中", "##!",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model of KerasHub.

    Attributes:
        name: What its classes begin with.
        sizes: Of the backbone.
        segments: Whether it takes segments.
        has_classifier: Whether KerasHub has one with a head.
    """

    name: str
    sizes: dict[str, Any]
    segments: bool = True
    has_classifier: bool = True


KINDS = {
    "bert": Kind("Bert", {**_SIZES, "vocabulary_size": 97}),
    "albert": Kind("Albert", {**_SIZES, "vocabulary_size": 97, "embedding_dim": 11}),
    "distilbert": Kind("DistilBert", {**_SIZES, "vocabulary_size": 97}, segments=False),
    "roberta": Kind("Roberta", {**_SIZES, "vocabulary_size": 97}, segments=False),
    "electra": Kind("Electra", {**_SIZES, "vocab_size": 97, "embedding_dim": 11}, has_classifier=False),
    "electra, wide embeddings": Kind(
        "Electra", {**_SIZES, "vocab_size": 97, "embedding_dim": 35}, has_classifier=False
    ),
}
CLASSIFIERS = [name for name, kind in KINDS.items() if kind.has_classifier]


def make_backbone(kind: Kind, **changes: Any):
    """A backbone of random weights, none of them at its neutral value."""
    backbone = getattr(keras_hub.models, f"{kind.name}Backbone")(**{**kind.sizes, **changes})
    shake(backbone)
    return backbone


def make_classifier(kind: Kind, preprocessor=None, num_classes: int = NUM_CLASSES, sizes=None, **arguments: Any):
    """A classifier of random weights."""
    backbone = make_backbone(kind, **(sizes or {}))
    classes = getattr(keras_hub.models, f"{kind.name}TextClassifier")
    classifier = classes(backbone=backbone, num_classes=num_classes, preprocessor=preprocessor, **arguments)
    shake(classifier)
    return classifier


def shake(model) -> None:
    """Draws weights: no bias 0, no gamma 1, no attention uniform."""
    draw = np.random.default_rng(11)
    for variable in model.trainable_variables:
        scale = 0.4 if "embedding" in variable.path else 1.2 / np.sqrt(35) if len(variable.shape) > 1 else 0.2
        variable.assign(variable.path.endswith("gamma") + scale * draw.standard_normal(variable.shape))


def logits_of(model, inputs, kind: Kind) -> np.ndarray:
    """What KerasHub's model answers, `[B, C]`."""
    given = {name: values for name, values in inputs.items() if kind.segments or name != "segment_ids"}
    return keras.ops.convert_to_numpy(model(given, training=False))


def make_preprocessor(kind: Kind, folder: Path, sequence_length: int = 23, **arguments: Any):
    """KerasHub's preprocessor with a tokenizer of the architecture; its vocabulary's size is the tokenizer's own."""
    models = keras_hub.models
    if kind.name == "Albert":
        tokenizer = models.AlbertTokenizer(train_sentence_pieces(151, sample_texts()))
    elif kind.name == "Roberta":
        folder.mkdir(parents=True, exist_ok=True)
        write_byte_pairs(folder, 307, sample_texts())
        tokenizer = models.RobertaTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    else:
        tokenizer = getattr(models, f"{kind.name}Tokenizer")(VOCABULARY, **arguments)
    return getattr(models, f"{kind.name}TextClassifierPreprocessor")(tokenizer, sequence_length=sequence_length)
