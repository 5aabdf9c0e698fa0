"""BERT's family small enough for tests, made by `transformers` on PyTorch: an implementation that is none of ours.

The sizes are distinct primes: embeddings 11, others as in `tiny_bert`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_pieces import normalized, sample_texts, train_sentence_pieces, write_byte_pairs

NUM_LABELS = 7
_COMMON = {"vocab_size": 97, "max_position_embeddings": 31, "num_labels": NUM_LABELS}
_BERT = {
    "hidden_size": 35,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 29,
    "type_vocab_size": 2,
    **_COMMON,
}
_ALBERT = {**_BERT, "embedding_size": 11}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model: the name of its classes in `transformers`, and what its configuration says.

    Attributes:
        segments: Whether it takes segments.
    """

    classes: str
    values: dict[str, Any]
    segments: bool = True


KINDS = {
    "bert": Kind("Bert", {**_BERT, "hidden_act": "gelu"}),
    "bert, gelu_new": Kind("Bert", {**_BERT, "hidden_act": "gelu_new"}),
    "albert v1": Kind("Albert", {**_ALBERT, "hidden_act": "gelu"}),
    "albert v2": Kind(
        "Albert", {**_ALBERT, "hidden_act": "gelu_new", "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    ),
    "distilbert": Kind(
        "DistilBert", {"dim": 35, "n_layers": 3, "n_heads": 5, "hidden_dim": 29, **_COMMON}, segments=False
    ),
    "roberta": Kind(
        "Roberta",
        {**_BERT, "type_vocab_size": 1, "max_position_embeddings": 33, "layer_norm_eps": 1e-5, "pad_token_id": 1},
        segments=False,
    ),
    "electra": Kind("Electra", {**_BERT, "embedding_size": 11}),
    "electra, wide embeddings": Kind("Electra", {**_BERT, "embedding_size": 35}),
}


def write_family_checkpoint(folder: Path, kind: Kind, base: bool = False, **changes: Any):
    """Saves a model of random weights, with `config.json` and `model.safetensors`.

    Args:
        folder: Where to write.
        kind: Of `KINDS`.
        base: Whether without a head, as pretraining leaves it.
        **changes: Of the configuration.

    Returns:
        The `transformers` model, evaluating.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind.classes}Config")(**{**kind.values, **changes})
    torch.manual_seed(7)
    model = getattr(transformers, f"{kind.classes}{'Model' if base else 'ForSequenceClassification'}")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Nothing at its neutral value: no bias 0, no gamma 1, no attention uniform.
            scale = 0.4 if "embeddings" in name else 1.4 / np.sqrt(weight.shape[-1]) if weight.ndim == 2 else 0.2
            norm = "norm" in name.lower() and name.endswith("weight")
            weight.copy_(norm + scale * torch.randn(weight.shape))
    model.save_pretrained(folder)
    return model


def logits_of(model, kind: Kind, inputs) -> np.ndarray:
    """Logits `[B, C]` of the `transformers` model."""
    import torch

    segments = {"token_type_ids": torch.tensor(inputs["segment_ids"])} if kind.segments else {}
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(inputs["token_ids"]), attention_mask=torch.tensor(inputs["padding_mask"]), **segments
        ).logits.numpy()


def family_inputs(inputs, kind: Kind):
    """Inputs of `tiny_bert.random_inputs` with the padding that the architecture has."""
    if kind.classes != "Roberta":
        return inputs
    padded = np.where(inputs["padding_mask"] == 1, np.maximum(inputs["token_ids"], 2), 1)  # 1 is <pad>
    return {**inputs, "token_ids": padded.astype("int32")}


# Hugging Face's layer of a tiny ALBERT -> the variables of Google's release, from its own scopes.
_BLOCK = "encoder.albert_layer_groups.0.albert_layers.0"
_GROUP = "bert/encoder/transformer/group_0/inner_group_0"
_GOOGLE_ALBERT = {
    "albert.embeddings.word_embeddings": "bert/embeddings/word_embeddings",
    "albert.embeddings.position_embeddings": "bert/embeddings/position_embeddings",
    "albert.embeddings.token_type_embeddings": "bert/embeddings/token_type_embeddings",
    "albert.embeddings.LayerNorm": "bert/embeddings/LayerNorm",
    "albert.encoder.embedding_hidden_mapping_in": "bert/encoder/embedding_hidden_mapping_in",
    f"albert.{_BLOCK}.attention.query": f"{_GROUP}/attention_1/self/query",
    f"albert.{_BLOCK}.attention.key": f"{_GROUP}/attention_1/self/key",
    f"albert.{_BLOCK}.attention.value": f"{_GROUP}/attention_1/self/value",
    f"albert.{_BLOCK}.attention.dense": f"{_GROUP}/attention_1/output/dense",
    f"albert.{_BLOCK}.attention.LayerNorm": f"{_GROUP}/LayerNorm",
    f"albert.{_BLOCK}.ffn": f"{_GROUP}/ffn_1/intermediate/dense",
    f"albert.{_BLOCK}.ffn_output": f"{_GROUP}/ffn_1/intermediate/output/dense",
    f"albert.{_BLOCK}.full_layer_layer_norm": f"{_GROUP}/LayerNorm_1",
    "albert.pooler": "bert/pooler/dense",
}


def google_albert_variables(model) -> dict[str, np.ndarray]:
    """Weights of a `transformers` ALBERT by Google's names, with pretraining heads and an optimizer's state."""
    found = {}
    for name, weight in model.state_dict().items():
        layer, _, ending = name.rpartition(".")
        if layer in _GOOGLE_ALBERT:
            scope, array = _GOOGLE_ALBERT[layer], weight.numpy()
            if scope.endswith("_embeddings"):
                found[scope] = array
            elif "LayerNorm" in scope:
                found[f"{scope}/{'gamma' if ending == 'weight' else 'beta'}"] = array
            else:
                found[f"{scope}/{'kernel' if ending == 'weight' else 'bias'}"] = array.T
    hidden = found["bert/pooler/dense/bias"].shape[0]
    return {
        **found,
        "cls/predictions/transform/dense/kernel": np.zeros((hidden, 11), "float32"),
        "cls/predictions/output_bias": np.zeros(97, "float32"),
        "cls/seq_relationship/output_weights": np.zeros((2, hidden), "float32"),
        "bert/pooler/dense/kernel/lamb_m": np.zeros((hidden, hidden), "float32"),
        "global_step": np.array(125000, "int64"),
    }


def write_google_albert(folder: Path, kind: Kind, variables: dict[str, np.ndarray], **changes: Any) -> None:
    """Writes `albert_config.json` and `model.ckpt-best.*`, as `albert_base` has them."""
    import tensorflow as tf

    config = {
        "attention_probs_dropout_prob": 0,
        "hidden_dropout_prob": 0,
        "initializer_range": 0.02,
        "down_scale_factor": 1,
        "gap_size": 0,
        "net_structure_type": 0,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "num_memory_blocks": 0,
        **{key: value for key, value in kind.values.items() if key != "num_labels"},
        "hidden_act": "gelu",  # in every release; its code takes the tanh approximation
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "albert_config.json").write_text(json.dumps(config), encoding="utf-8")
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt-best"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(value) for value in variables.values()],
    )


SIZE = 211  # of the vocabulary of `write_albert`


def write_albert(folder):
    """Writes a tiny ALBERT as Google's files, with a SentencePiece model."""
    model = write_family_checkpoint(folder / "hugging_face", KINDS["albert v2"], base=True, vocab_size=SIZE)

    class Prefixed:
        """The base model's weights under the names of a model around it."""

        def state_dict(self):
            return {f"albert.{name}": weight for name, weight in model.state_dict().items()}

    write_google_albert(folder, KINDS["albert v2"], google_albert_variables(Prefixed()), vocab_size=SIZE)
    texts = [normalized(text) for text in sample_texts()]
    (folder / "30k-clean.model").write_bytes(train_sentence_pieces(SIZE, texts))


def write_roberta(folder):
    """Writes a tiny RoBERTa as Hugging Face's files, with byte pairs."""
    folder.mkdir()
    write_byte_pairs(folder, 503, sample_texts())
    write_family_checkpoint(folder, KINDS["roberta"], base=True, vocab_size=503)
