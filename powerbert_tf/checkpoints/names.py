"""What each weight is called here, in Google's TF1 checkpoints and in Hugging Face's: a row per layer."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

from powerbert_tf.models.config import BertConfig

HEAD = ("classifier/kernel", "classifier/bias")
POOLER = ("pooler/kernel", "pooler/bias")

# Layer here -> layer there. `{}` is the number of an encoder.
_BERT = {
    "embeddings/word_embeddings": "embeddings.word_embeddings",
    "embeddings/position_embeddings": "embeddings.position_embeddings",
    "embeddings/segment_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "encoder_{}/attention/query": "encoder.layer.{}.attention.self.query",
    "encoder_{}/attention/key": "encoder.layer.{}.attention.self.key",
    "encoder_{}/attention/value": "encoder.layer.{}.attention.self.value",
    "encoder_{}/attention/output": "encoder.layer.{}.attention.output.dense",
    "encoder_{}/attention_layer_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "encoder_{}/intermediate": "encoder.layer.{}.intermediate.dense",
    "encoder_{}/feed_forward_output": "encoder.layer.{}.output.dense",
    "encoder_{}/output_layer_norm": "encoder.layer.{}.output.LayerNorm",
    "pooler": "pooler.dense",
    "classifier": "classifier",
}
_ROBERTA = {**_BERT, "pooler": "classifier.dense", "classifier": "classifier.out_proj"}
_DISTILBERT = {
    **_BERT,
    "encoder_{}/attention/query": "transformer.layer.{}.attention.q_lin",
    "encoder_{}/attention/key": "transformer.layer.{}.attention.k_lin",
    "encoder_{}/attention/value": "transformer.layer.{}.attention.v_lin",
    "encoder_{}/attention/output": "transformer.layer.{}.attention.out_lin",
    "encoder_{}/attention_layer_norm": "transformer.layer.{}.sa_layer_norm",
    "encoder_{}/intermediate": "transformer.layer.{}.ffn.lin1",
    "encoder_{}/feed_forward_output": "transformer.layer.{}.ffn.lin2",
    "encoder_{}/output_layer_norm": "transformer.layer.{}.output_layer_norm",
    "pooler": "pre_classifier",
}
_ALBERT = {
    **_BERT,
    "embeddings/projection": "encoder.embedding_hidden_mapping_in",
    "encoder_{}/attention/query": "encoder.albert_layer_groups.{}.albert_layers.0.attention.query",
    "encoder_{}/attention/key": "encoder.albert_layer_groups.{}.albert_layers.0.attention.key",
    "encoder_{}/attention/value": "encoder.albert_layer_groups.{}.albert_layers.0.attention.value",
    "encoder_{}/attention/output": "encoder.albert_layer_groups.{}.albert_layers.0.attention.dense",
    "encoder_{}/attention_layer_norm": "encoder.albert_layer_groups.{}.albert_layers.0.attention.LayerNorm",
    "encoder_{}/intermediate": "encoder.albert_layer_groups.{}.albert_layers.0.ffn",
    "encoder_{}/feed_forward_output": "encoder.albert_layer_groups.{}.albert_layers.0.ffn_output",
    "encoder_{}/output_layer_norm": "encoder.albert_layer_groups.{}.albert_layers.0.full_layer_layer_norm",
    "pooler": "pooler",
}
HUGGING_FACE: dict[str, Mapping[str, str]] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "electra": {**_ROBERTA, "embeddings/projection": "embeddings_project"},
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
}
# Hugging Face took Google's names of BERT over, with dots.
_GOOGLE_BERT = {
    layer: f"bert/{name.replace('layer.{}', 'layer_{}').replace('.', '/')}"
    for layer, name in _BERT.items()
    if layer != "classifier"
}
_GOOGLE: Mapping[str, Mapping[str, str]] = {
    "bert": _GOOGLE_BERT,
    "albert": {
        **_GOOGLE_BERT,
        "embeddings/projection": "bert/encoder/embedding_hidden_mapping_in",
        "encoder_{}/attention/query": "bert/encoder/transformer/group_{}/inner_group_0/attention_1/self/query",
        "encoder_{}/attention/key": "bert/encoder/transformer/group_{}/inner_group_0/attention_1/self/key",
        "encoder_{}/attention/value": "bert/encoder/transformer/group_{}/inner_group_0/attention_1/self/value",
        "encoder_{}/attention/output": "bert/encoder/transformer/group_{}/inner_group_0/attention_1/output/dense",
        "encoder_{}/attention_layer_norm": "bert/encoder/transformer/group_{}/inner_group_0/LayerNorm",
        "encoder_{}/intermediate": "bert/encoder/transformer/group_{}/inner_group_0/ffn_1/intermediate/dense",
        "encoder_{}/feed_forward_output": (
            "bert/encoder/transformer/group_{}/inner_group_0/ffn_1/intermediate/output/dense"
        ),
        "encoder_{}/output_layer_norm": "bert/encoder/transformer/group_{}/inner_group_0/LayerNorm_1",
    },
}
_GOOGLE_HEAD = {"classifier/kernel": "output_weights", "classifier/bias": "output_bias"}

# What a complete checkpoint holds beside a classifier's weights: pretraining heads, an optimizer's state, a buffer.
GOOGLE_EXTRA = re.compile(r"cls/(predictions|seq_relationship)/.*|.*/(adam|lamb)_[mv]|global_step")
_HUGGING_FACE_EXTRA = {
    "bert": r"cls\.(predictions|seq_relationship)\..*",
    "albert": r"predictions\..*|sop_classifier\.classifier\..*",
    "distilbert": r"vocab_(transform|layer_norm|projector)\..*",
    # The pretrained model has a pooler that was never trained, and that its classifier does not use. Heads of words and
    # of options are one layer under the name that has two in a classifier of texts.
    "roberta": r"lm_head\..*|pooler\.dense\..*|classifier\.(weight|bias)",
    "electra": (
        r"(discriminator|generator)_predictions\..*|generator_lm_head\..*|sequence_summary\..*|"
        r"classifier\.(weight|bias)"
    ),
}
HUGGING_FACE_EXTRA = {
    architecture: re.compile(rf"{names}|qa_outputs\..*|embeddings\.(position_ids|token_type_ids)")
    for architecture, names in _HUGGING_FACE_EXTRA.items()
}
# Parts of a classifier outside the base model, whose name is no prefix of theirs.
_OUTSIDE_THE_BASE = ("classifier", "pre_classifier")


@dataclasses.dataclass(frozen=True)
class Name:
    """The names of one weight.

    Attributes:
        ours: Its Keras path.
        google: Google's variable name; empty if Google released no such architecture.
        hugging_face: Hugging Face's tensor name, without the leading `bert.`.
        google_transposed: Whether Google's matrix is the transpose of ours.
        hugging_face_transposed: Whether Hugging Face's is (PyTorch keeps `[out, in]`).
    """

    ours: str
    google: str
    hugging_face: str
    google_transposed: bool = False
    hugging_face_transposed: bool = False


def weight_names(config: BertConfig) -> tuple[Name, ...]:
    """The names of all weights of a classifier of this size, with its head."""
    names = []
    for layer, index in _layers(config):
        google = _GOOGLE.get(config.architecture, {}).get(layer)
        for weight, ending in _weights(layer):
            ours = f"{layer.format(index)}{weight}"
            name = Name(
                ours=ours,
                google=_GOOGLE_HEAD.get(ours, "") if google is None else f"{google.format(index)}{weight}",
                hugging_face=f"{HUGGING_FACE[config.architecture][layer].format(index)}{ending}",
                google_transposed=ours in _GOOGLE_HEAD and weight == "/kernel",
                hugging_face_transposed=weight == "/kernel",
            )
            names.append(name)
    return tuple(names)


def _layers(config: BertConfig) -> Iterator[tuple[str, int]]:
    """Layers that a model of this size has, each with the number of its encoder."""
    for layer in HUGGING_FACE[config.architecture]:
        if layer.startswith("encoder_{}"):
            yield from ((layer, index) for index in range(config.num_encoder_weights))
        elif layer == "embeddings/projection":
            yield from [(layer, 0)] * config.has_projection
        elif layer == "embeddings/segment_embeddings":
            yield from [(layer, 0)] * (config.type_vocab_size > 0)
        else:
            yield layer, 0


def _weights(layer: str) -> tuple[tuple[str, str], ...]:
    """What follows a layer's name in the names of its weights: here and at Google, and at Hugging Face."""
    if layer.endswith("_embeddings"):
        return (("", ".weight"),)
    if layer.endswith("layer_norm"):
        return ("/gamma", ".weight"), ("/beta", ".bias")
    return ("/kernel", ".weight"), ("/bias", ".bias")


def full_hugging_face_name(architecture: str, name: Name) -> str:
    """The tensor's name in the architecture's `...ForSequenceClassification`."""
    first = name.hugging_face.split(".")[0]
    return name.hugging_face if first in _OUTSIDE_THE_BASE else f"{architecture}.{name.hugging_face}"
