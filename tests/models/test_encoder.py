"""BERT's layers on their own; what they compute together is compared in test_classifier.py."""

import keras
import numpy as np
import pytest
from layer_checks import Output, check_layer
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.elimination.extract import Extract, GatedExtract, SoftExtract
from powerbert_tf.elimination.width_gates import WidthGate
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.encoder import BertEmbeddings, EncoderBlock, SelfAttention

BATCH, LENGTH, N, HIDDEN = 3, 13, 23, 35
CONFIG = BertConfig(**tiny_config())
MASK = random_inputs(tiny_config(), BATCH, LENGTH)["padding_mask"]
WORD_VECTORS = np.random.default_rng(3).standard_normal((BATCH, LENGTH, HIDDEN)).astype("float32")
ENCODER_INPUTS = {"word_vectors": WORD_VECTORS, "padding_mask": MASK, "input_mask": MASK}


@keras.saving.register_keras_serializable("tests")
class BothSteps(SelfAttention):
    """Self-attention whose two steps follow each other."""

    def call(self, word_vectors, padding_mask):
        return self.output_projection(self.gather_heads(*self.attend(word_vectors, padding_mask)))


@keras.saving.register_keras_serializable("tests")
class FirstRows(keras.layers.Layer):
    """A custom slot that keeps 7 rows."""

    def call(self, word_vectors, attention_probs, padding_mask):
        return word_vectors[:, :7], padding_mask[:, :7]


@pytest.mark.parametrize(
    "changes",
    [{}, {"type_vocab_size": 1}, {"type_vocab_size": 0}, {"embedding_size": 11}],
    ids=["bert", "one segment", "no segments", "projected"],
)
def test_embeddings(changes, tmp_path):
    config = BertConfig(**{**tiny_config(), **changes})
    inputs = random_inputs(tiny_config(), BATCH, LENGTH)
    del inputs["padding_mask"]
    check_layer(lambda: BertEmbeddings(config, N), inputs, Output((BATCH, LENGTH, HIDDEN)), tmp_path)


def test_self_attention(tmp_path):
    inputs = {"word_vectors": WORD_VECTORS, "padding_mask": MASK}
    check_layer(lambda: BothSteps(CONFIG), inputs, Output((BATCH, LENGTH, HIDDEN)), tmp_path)


def width_gates(width):
    return {"neuron_gate": WidthGate(29, width=width), "head_gate": WidthGate(5, axis=1, width=width)}


@pytest.mark.parametrize(
    ("make_slot", "kept", "mask_dtype"),
    [
        (lambda: {}, LENGTH, "int32"),
        (lambda: {"cls_only": True}, 1, "int32"),
        (lambda: {"extract": Extract(7, N)}, 7, "int32"),
        (lambda: {"extract": Extract(0.4, N, selection="weighted")}, 6, "int32"),
        (lambda: {"extract": SoftExtract(N)}, LENGTH, "int32"),
        (lambda: {"extract": SoftExtract(N), "cls_only": True}, 1, "int32"),
        (lambda: {"extract": GatedExtract(N, width=0.3)}, LENGTH, "float32"),
        (lambda: {"extract": GatedExtract(N, width=0.3), **width_gates(0.3)}, LENGTH, "float32"),
        (lambda: {"cls_only": True, **width_gates(0.0)}, 1, "int32"),
        (lambda: {"custom_slot": FirstRows()}, 7, "int32"),
    ],
    ids=["plain", "cls", "count", "fraction", "soft", "soft cls", "gates", "gates in all", "gates cls", "custom"],
)
def test_encoder_block(make_slot, kept, mask_dtype, tmp_path):
    # Keras cannot know how many rows a custom slot keeps.
    inferred = None if "custom_slot" in make_slot() else kept
    expected = (
        Output((BATCH, kept, HIDDEN), inferred=(BATCH, inferred, HIDDEN)),
        Output((BATCH, kept), mask_dtype, inferred=(BATCH, inferred)),
    )
    check_layer(lambda: EncoderBlock(CONFIG, **make_slot()), ENCODER_INPUTS, expected, tmp_path)


def test_a_block_has_one_slot_at_most_and_none_for_cls_alone():
    with pytest.raises(ValueError, match="extract and cls_only are given; expected one of them"):
        EncoderBlock(CONFIG, Extract(7, N), cls_only=True)
    for others in ({"cls_only": True}, {"extract": Extract(7, N)}):
        with pytest.raises(ValueError, match="custom_slot is given with extract or cls_only; expected one of them"):
            EncoderBlock(CONFIG, custom_slot=FirstRows(), **others)
