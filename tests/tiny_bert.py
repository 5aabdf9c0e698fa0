"""BERTs small enough for tests: configurations, weights, inputs, and checkpoints in the two published formats.

The sizes are distinct primes, so that no axis can be mistaken for another one: segments 2, encoders 3, heads 5,
head size 7, intermediate 29, positions 31, vocabulary 97.
"""

import itertools
import json
import string
from pathlib import Path

import numpy as np

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL_TOKENS))

# (Google's, Hugging Face's) parts of a name, applied in this order.
HUGGING_FACE_NAMES = (
    ("layer_", "layer."),
    ("/kernel", "/weight"),
    ("/gamma", "/weight"),
    ("/beta", "/bias"),
    ("_embeddings", "_embeddings/weight"),
    ("output_weights", "classifier/weight"),
    ("output_bias", "classifier/bias"),
    ("/", "."),
)


def tiny_config(
    *,
    num_hidden_layers=3,
    num_attention_heads=5,
    head_size=7,
    intermediate_size=29,
    vocab_size=97,
    max_position_embeddings=31,
    type_vocab_size=2,
    hidden_act="gelu",
    dropout=0.1,
):
    """Returns the content of a `bert_config.json`; the hidden size is heads times head size, 35 by default."""
    return {
        "attention_probs_dropout_prob": dropout,
        "hidden_act": hidden_act,
        "hidden_dropout_prob": dropout,
        "hidden_size": num_attention_heads * head_size,
        "initializer_range": 0.02,
        "intermediate_size": intermediate_size,
        "max_position_embeddings": max_position_embeddings,
        "num_attention_heads": num_attention_heads,
        "num_hidden_layers": num_hidden_layers,
        "type_vocab_size": type_vocab_size,
        "vocab_size": vocab_size,
    }


def random_weights(config, num_outputs=2, seed=0):
    """Draws weights that leave nothing at its neutral value: no bias is 0, no gamma 1, no attention uniform.

    Args:
        config: The content of a `bert_config.json`.
        num_outputs: Number of outputs C; None for a checkpoint without a classifier, as pretraining leaves it.
        seed: Seed of the generator.

    Returns:
        A dict of float32 arrays by Google's variable names.
    """
    rng = np.random.default_rng(seed)
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    weights = {}

    def normal(name, shape, scale):
        weights[name] = (scale * rng.standard_normal(shape)).astype(np.float32)

    def dense(scope, inputs, outputs, gain=1.0):
        normal(f"{scope}/kernel", (inputs, outputs), gain / np.sqrt(inputs))
        normal(f"{scope}/bias", (outputs,), 0.2)

    def layer_norm(scope):
        weights[f"{scope}/LayerNorm/gamma"] = rng.uniform(0.5, 1.5, hidden).astype(np.float32)
        normal(f"{scope}/LayerNorm/beta", (hidden,), 0.2)

    normal("bert/embeddings/word_embeddings", (config["vocab_size"], hidden), 0.5)
    normal("bert/embeddings/token_type_embeddings", (config["type_vocab_size"], hidden), 0.3)
    normal("bert/embeddings/position_embeddings", (config["max_position_embeddings"], hidden), 0.4)
    layer_norm("bert/embeddings")
    for j in range(config["num_hidden_layers"]):
        scope = f"bert/encoder/layer_{j}"
        # A gain of sqrt(2) on both sides gives attention logits a standard deviation of about 2.
        dense(f"{scope}/attention/self/query", hidden, hidden, gain=np.sqrt(2.0))
        dense(f"{scope}/attention/self/key", hidden, hidden, gain=np.sqrt(2.0))
        dense(f"{scope}/attention/self/value", hidden, hidden)
        dense(f"{scope}/attention/output/dense", hidden, hidden)
        layer_norm(f"{scope}/attention/output")
        dense(f"{scope}/intermediate/dense", hidden, intermediate)
        dense(f"{scope}/output/dense", intermediate, hidden)
        layer_norm(f"{scope}/output")
    dense("bert/pooler/dense", hidden, hidden)
    if num_outputs is not None:
        normal("output_weights", (num_outputs, hidden), 2.0 / np.sqrt(hidden))
        normal("output_bias", (num_outputs,), 0.2)
    return weights


def random_inputs(config, batch=5, length=19, seed=0):
    """Draws sentence pairs `[CLS] a [SEP] b [SEP]`, padded on the right.

    Row 0 fills the whole length, row 1 has two word-pieces, and the lengths of the others lie between.

    Args:
        config: The content of a `bert_config.json`.
        batch: B.
        length: T, at least 2.
        seed: Seed of the generator.

    Returns:
        A dict of int32 arrays [B, T]: token_ids, segment_ids, padding_mask.
    """
    if not 2 <= length <= config["max_position_embeddings"]:
        raise ValueError(f"length must be in 2..{config['max_position_embeddings']}, received: {length}")
    rng = np.random.default_rng(seed)
    between = rng.permutation(np.arange(3, length)) if length > 3 else np.array([2])
    lengths = [length, 2, *np.resize(between, max(batch - 2, 0))][:batch]

    inputs = {name: np.zeros((batch, length), np.int32) for name in ("token_ids", "segment_ids", "padding_mask")}
    for row, real in enumerate(lengths):
        second = rng.integers(1, real)  # where the second segment begins
        inputs["token_ids"][row, :real] = rng.integers(len(SPECIAL_TOKENS), config["vocab_size"], real)
        inputs["token_ids"][row, [second - 1, real - 1]] = SEP
        inputs["token_ids"][row, 0] = CLS
        inputs["segment_ids"][row, second:real] = 1
        inputs["padding_mask"][row, :real] = 1
    return inputs


def vocabulary(size):
    """Returns `size` distinct word-pieces: the special tokens, every lower-case letter, `##` letters, made-up words."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = ("".join(parts) for count in itertools.count(2) for parts in itertools.product(syllables, repeat=count))
    letters = string.ascii_lowercase
    pieces = itertools.chain(SPECIAL_TOKENS, letters, (f"##{letter}" for letter in letters), words)
    return list(itertools.islice(pieces, size))


def _write_config_and_vocabulary(folder, config_name, config):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config_name).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary(config["vocab_size"])) + "\n", encoding="utf-8")
    return folder


def write_google_checkpoint(folder, config, weights):
    """Writes `bert_config.json`, `vocab.txt` and a name-based TF1 checkpoint `bert_model.ckpt.*`.

    Returns:
        The checkpoint's path without a suffix, as a string.
    """
    import tensorflow as tf

    folder = _write_config_and_vocabulary(folder, "bert_config.json", config)
    prefix = str(folder / "bert_model.ckpt")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(weights),
        shape_and_slices=[""] * len(weights),
        tensors=[tf.constant(value) for value in weights.values()],
    )
    return prefix


def write_hugging_face_checkpoint(folder, config, weights, prefix="bert."):
    """Writes `config.json`, `vocab.txt` and `model.safetensors` with the names of Hugging Face's BERT.

    Args:
        folder: Where to write; created where missing.
        config: The content of a `bert_config.json`.
        weights: Arrays by Google's variable names; the classifier is written if it is there.
        prefix: What the encoder's names begin with: "bert." (BertForSequenceClassification) or "" (BertModel).

    Returns:
        The path of `model.safetensors`, as a string.
    """
    from safetensors.numpy import save_file

    head = "BertForSequenceClassification" if "output_weights" in weights else "BertModel"
    hugging_face_config = {
        **config,
        "architectures": [head],
        "layer_norm_eps": 1e-12,
        "model_type": "bert",
        "pad_token_id": PAD,
    }
    if "output_weights" in weights:
        labels = [f"LABEL_{i}" for i in range(len(weights["output_bias"]))]
        hugging_face_config["id2label"] = {str(i): label for i, label in enumerate(labels)}
        hugging_face_config["label2id"] = {label: i for i, label in enumerate(labels)}
    folder = _write_config_and_vocabulary(folder, "config.json", hugging_face_config)

    tensors = {}
    for google_name, value in weights.items():
        name = google_name
        for old, new in HUGGING_FACE_NAMES:
            name = name.replace(old, new)
        if name.startswith("bert."):
            name = prefix + name.removeprefix("bert.")
        # Hugging Face's Dense weights are [outputs, inputs]; Google's output_weights are so already.
        tensors[name] = np.ascontiguousarray(value.T if google_name.endswith("/kernel") else value)
    path = str(folder / "model.safetensors")
    save_file(tensors, path, metadata={"format": "pt"})
    return path
