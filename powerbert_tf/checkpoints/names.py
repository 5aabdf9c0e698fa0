"""What each weight is called here, in Google's TF1 checkpoints and in Hugging Face's. A weight is a row."""

import dataclasses
import re

from powerbert_tf.bert_config import BertConfig

HEAD = ("classifier/kernel", "classifier/bias")


@dataclasses.dataclass(frozen=True)
class Name:
    """One weight.

    Attributes:
        ours: Its Keras path.
        google: Google's variable name.
        hugging_face: Hugging Face's tensor name, without the leading `bert.`.
        google_transposed: Whether Google's matrix is the transpose of ours.
        hugging_face_transposed: Whether Hugging Face's is (PyTorch keeps `[out, in]`).
    """

    ours: str
    google: str
    hugging_face: str
    google_transposed: bool = False
    hugging_face_transposed: bool = False


def _dense(ours: str, google: str, hugging_face: str) -> tuple[Name, Name]:
    return (
        Name(f"{ours}/kernel", f"{google}/kernel", f"{hugging_face}.weight", hugging_face_transposed=True),
        Name(f"{ours}/bias", f"{google}/bias", f"{hugging_face}.bias"),
    )


def _layer_norm(ours: str, google: str, hugging_face: str) -> tuple[Name, Name]:
    return (
        Name(f"{ours}/gamma", f"{google}/gamma", f"{hugging_face}.weight"),
        Name(f"{ours}/beta", f"{google}/beta", f"{hugging_face}.bias"),
    )


def _encoder(index: int) -> tuple[Name, ...]:
    ours, google, hugging_face = f"encoder_{index}", f"bert/encoder/layer_{index}", f"encoder.layer.{index}"
    return (
        *_dense(f"{ours}/attention/query", f"{google}/attention/self/query", f"{hugging_face}.attention.self.query"),
        *_dense(f"{ours}/attention/key", f"{google}/attention/self/key", f"{hugging_face}.attention.self.key"),
        *_dense(f"{ours}/attention/value", f"{google}/attention/self/value", f"{hugging_face}.attention.self.value"),
        *_dense(
            f"{ours}/attention/output", f"{google}/attention/output/dense", f"{hugging_face}.attention.output.dense"
        ),
        *_layer_norm(
            f"{ours}/attention_layer_norm",
            f"{google}/attention/output/LayerNorm",
            f"{hugging_face}.attention.output.LayerNorm",
        ),
        *_dense(f"{ours}/intermediate", f"{google}/intermediate/dense", f"{hugging_face}.intermediate.dense"),
        *_dense(f"{ours}/feed_forward_output", f"{google}/output/dense", f"{hugging_face}.output.dense"),
        *_layer_norm(f"{ours}/output_layer_norm", f"{google}/output/LayerNorm", f"{hugging_face}.output.LayerNorm"),
    )


def weight_names(config: BertConfig) -> tuple[Name, ...]:
    """Rows of all weights of a BERT classifier of this size, head included."""
    embeddings = (
        Name("embeddings/word_embeddings", "bert/embeddings/word_embeddings", "embeddings.word_embeddings.weight"),
        Name(
            "embeddings/position_embeddings",
            "bert/embeddings/position_embeddings",
            "embeddings.position_embeddings.weight",
        ),
        Name(
            "embeddings/segment_embeddings",
            "bert/embeddings/token_type_embeddings",
            "embeddings.token_type_embeddings.weight",
        ),
        *_layer_norm("embeddings/layer_norm", "bert/embeddings/LayerNorm", "embeddings.LayerNorm"),
    )
    encoders = (name for index in range(config.num_hidden_layers) for name in _encoder(index))
    head = (
        Name("classifier/kernel", "output_weights", "classifier.weight", True, True),
        Name("classifier/bias", "output_bias", "classifier.bias"),
    )
    return (*embeddings, *encoders, *_dense("pooler", "bert/pooler/dense", "pooler.dense"), *head)


# What a complete checkpoint holds beside BERT: the pretraining heads, the optimizer's state, a constant buffer.
_NOT_BERT_GOOGLE = re.compile(
    r"cls/(predictions|seq_relationship)/.*|.*/adam_[mv]|output_(weights|bias)/adam_[mv]|global_step"
)
_NOT_BERT_HUGGING_FACE = re.compile(r"cls\.(predictions|seq_relationship)\..*|embeddings\.position_ids")


def is_known_extra(google: str | None = None, hugging_face: str | None = None) -> bool:
    """Whether a foreign name belongs to a part of a checkpoint that a classifier does without."""
    if google is not None:
        return _NOT_BERT_GOOGLE.fullmatch(google) is not None
    return hugging_face is not None and _NOT_BERT_HUGGING_FACE.fullmatch(hugging_face) is not None
