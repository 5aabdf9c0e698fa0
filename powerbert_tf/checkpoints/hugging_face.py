"""Hugging Face's format: `config.json` and `model.safetensors`, or several files with an index."""

import itertools
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from powerbert_tf.checkpoints.checkpoint import OPTIONS, Checkpoint, require_bytes
from powerbert_tf.checkpoints.config_files import hugging_face_config
from powerbert_tf.checkpoints.names import HEAD, HUGGING_FACE_EXTRA, POOLER, full_hugging_face_name, weight_names
from powerbert_tf.checkpoints.weights import in_one_width, list_names, named_weights
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, replacing, write_json
from powerbert_tf.data.kinds import CLASSES, KINDS, LABELS, NUMBER, Kind
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, read_bert_config

FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"  # tensor -> file, where there are several
CONFIG_FILE = "config.json"
# What else lies in folders in place of the weights, and what to do about it.
_OTHER_FILES = {
    "adapter_model.*": "an adapter without its model: merge it with merge_and_unload() of PEFT and save the model",
    "*.bin": "a pickle, which is never loaded: convert it",
    "tf_model.h5": "TensorFlow weights of transformers: load them there with from_tf=True and save the model",
    "flax_model.msgpack": "Flax weights of transformers: load them there with from_flax=True and save the model",
    "*.onnx": "a graph without a model's structure: give the folder that it was exported from",
}
_OF_TEXTS = "ForSequenceClassification"
# Ending of a class's name -> what its head answers.
_OTHER_HEADS = {
    "ForTokenClassification": "a class for each word",
    "ForQuestionAnswering": "where in a text an answer is",
    "ForMultipleChoice": OPTIONS,
}
_PLACEHOLDER = re.compile(r"LABEL_\d+")  # what `transformers` calls a class without a name


def find(name: str, folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder; None if the folder has no file of Hugging Face's.

    Raises:
        InputError: The checkpoint is incomplete, or its configuration is damaged.
    """
    path, weights = folder / CONFIG_FILE, folder / FILE
    if not (path.is_file() or weights.is_file()):
        return None
    config = read_bert_config(path)
    if not weights.is_file() and not (folder / INDEX_FILE).is_file():
        raise InputError(f"{weights}: no such file{describe_other_files(folder)}.")
    require_bytes(config, path, _weight_files(folder))
    is_multi_label, problem = _read_problem(folder)
    return Checkpoint(
        name,
        folder,
        config,
        lambda: read_weights(folder, config),
        classes=_read_classes(folder),
        is_multi_label=is_multi_label,
        problem=problem,
    )


def describe_other_files(folder: Path, name: str = "*") -> str:
    """Of files that are no checkpoint here, what the first one is and what to do, in parentheses; empty without any.

    `name` is that of a file, for this one alone.
    """
    for pattern, meaning in _OTHER_FILES.items():
        for path in sorted(folder.glob(pattern)):
            if name in ("*", path.name):
                return f" ({path.name} is {meaning})"
    return ""


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold the tensors: one, or those of the index.

    Raises:
        InputError: The index is damaged, or a file that it names is missing.
    """
    if (folder / FILE).is_file():
        return [folder / FILE]
    index = folder / INDEX_FILE
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"{index}: has no weight_map of tensors and their files.")
    files = [folder / Path(name).name for name in sorted(set(places.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{index}: names {', '.join(missing)}, which are not there; expected all files of the checkpoint."
        )
    return files


def read_weights(folder: Path, config: BertConfig) -> dict[str, np.ndarray]:
    """Reads the weights of a base model, or of one built on it (tensor names with a leading `bert.`, `albert.`, ...).

    Returns:
        Our path -> array; with `classifier/kernel` and `classifier/bias` if the checkpoint holds a head.

    Raises:
        InputError: The file is damaged, or holds a tensor that does not belong to this architecture.
    """
    title = ARCHITECTURES[config.architecture].title
    weights: dict[str, np.ndarray] = {}
    left_over: set[str] = set()
    rows = {name.hugging_face: name for name in weight_names(config)}
    files = _weight_files(folder)
    prefix = _common_prefix([name for path in files for name in _tensor_names(path)], rows, config.architecture)
    for path in files:
        try:
            with safe_open(path, framework="numpy") as tensors:
                for foreign in tensors.keys():  # noqa: SIM118 - not a mapping
                    modern = _modern(foreign.removeprefix(prefix), config.architecture)
                    name = rows.get(modern)
                    if name is not None and name.ours not in weights:
                        array = tensors.get_tensor(foreign)
                        weights[name.ours] = array.T if name.hugging_face_transposed else array
                    elif not HUGGING_FACE_EXTRA[config.architecture].fullmatch(modern):
                        left_over.add(foreign)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: cannot be read; damaged or truncated? ({error})") from None
    others = {foreign.split(".")[0] for foreign in left_over} & ARCHITECTURES.keys() - {config.architecture}
    if others:
        raise InputError(
            f"{folder}: holds the weights of a {ARCHITECTURES[min(others)].title}; the configuration beside it is a "
            f"{title}'s."
        )
    if left_over:
        raise InputError(f"{folder}: holds tensors that do not belong to this {title}: {list_names(left_over)}.")
    if _head_class(folder) != _OF_TEXTS and not weights.keys() & set(POOLER):  # a head of words, beside no pooler
        weights = {ours: array for ours, array in weights.items() if ours not in HEAD}
    return {ours: array.astype("float32") for ours, array in weights.items()}


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read; damaged or truncated? ({error})") from None


def _common_prefix(names: Sequence[str], known: Container[str], architecture: str) -> str:
    """What all names begin with, and what is none of the model's own: `_orig_mod.`, `module.`, `model.` and so on."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    parts = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    prefixes = ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts) + 1)]
    return max(
        prefixes,  # the shortest of those that are equally good
        key=lambda prefix: sum(_modern(name.removeprefix(prefix), architecture) in known for name in names),
    )


def _head_class(folder: Path) -> str:
    """What the name of the model's class ends with, such as `ForTokenClassification`; empty if there is none."""
    classes = read_object(folder / CONFIG_FILE).get("architectures") or [""]
    head = re.search(r"For[A-Z]\w*$", str(classes[0]) if isinstance(classes, list) else "")
    return head[0] if head else ""


def _read_classes(folder: Path) -> tuple[str, ...]:
    """Names of a head's classes, in the order of its logits, from `id2label`; empty if it has no names."""
    named = _named_classes(folder)
    if sorted(named) != sorted(map(str, range(len(named)))):
        return ()
    names = tuple(str(named[str(number)]).strip() for number in range(len(named)))
    if all(map(_PLACEHOLDER.fullmatch, names)) or len(set(names)) < len(names):
        return ()
    return names


def _named_classes(folder: Path) -> dict[str, Any]:
    """`id2label` as it stands in the file, empty where there is none."""
    named = read_object(folder / CONFIG_FILE).get("id2label")
    if not isinstance(named, dict | None):
        raise InputError(f"{folder / CONFIG_FILE}: id2label={named!r}; expected an object of names by number.")
    return named or {}


def _read_problem(folder: Path) -> tuple[bool, str]:
    """Whether a head answers any number of labels, and what, if that is nothing that is known here.

    By its class and `problem_type`.

    Raises:
        InputError: `problem_type` is none that `transformers` knows.
    """
    name, named = read_object(folder / CONFIG_FILE).get("problem_type"), _named_classes(folder)
    if name is not None and not (isinstance(name, str) and name in KINDS):
        raise InputError(f"{folder / CONFIG_FILE}: problem_type={name!r}; expected one of {', '.join(KINDS)}.")
    kind = None if name is None else KINDS[name]
    if (head := _head_class(folder)) in _OTHER_HEADS:
        return False, f"{_OTHER_HEADS[head]} ({head})"
    if kind is NUMBER and len(named) > 1:
        return False, f"{len(named)} numbers (problem_type={name})"
    if kind in (CLASSES, LABELS) and len(named) == 1:  # for which `transformers` has a sigmoid, too
        return False, f"one label by a sigmoid (one output, problem_type={name})"
    return kind is LABELS, ""


def _modern(foreign: str, architecture: str) -> str:
    """The name without the prefix of the base model, and with today's names of a LayerNorm's weights."""
    name = foreign.removeprefix(f"{architecture}.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def write_checkpoint(
    folder: Path, model: BertClassifier, classes: Sequence[str] = (), pad_id: int = 0, kind: Kind | None = None
) -> None:
    """Writes the model as the architecture's `...ForSequenceClassification`, with head and without elimination.

    `classes` are names in the order of the logits, none for a regression; `pad_id` is the id of the padding token;
    `kind` says what the logits mean: without it, one is a number, and several are classes.
    Encoders of a narrowed model are filled up with zeros, see `weights.in_one_width`.
    """
    model = in_one_width(model)
    ours = named_weights(model)
    tensors = {}
    for name in weight_names(model.config):
        array = ours[name.ours].numpy()
        array = array.T if name.hugging_face_transposed else array
        tensors[full_hugging_face_name(model.config.architecture, name)] = np.ascontiguousarray(array, "float32")
    with replacing(folder / FILE) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})  # which transformers requires
    write_json(folder / CONFIG_FILE, hugging_face_config(model.config, classes, model.num_classes, pad_id, kind))
