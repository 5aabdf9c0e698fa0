"""KerasHub's models, backbones and classifiers: presets by name or folder, `.keras` files, and objects.

KerasHub is an optional extra, imported when one of its models is asked for. It builds and reads the models; the tables
here translate the names of their layers.
"""

import atexit
import dataclasses
import functools
import importlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from powerbert_tf.checkpoints.checkpoint import ROUND_ROBIN, Checkpoint
from powerbert_tf.checkpoints.keras_file import FILE
from powerbert_tf.checkpoints.names import HEAD, POOLER, weight_names
from powerbert_tf.checkpoints.weights import list_names
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.files import read_object
from powerbert_tf.models.architectures import ARCHITECTURES, SENTENCE_PIECES
from powerbert_tf.models.config import BertConfig

_SCHEME = re.compile(r"[a-z]+://")
_LORA = re.compile(r"/lora_\w+_[ab]$")
_BARE_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Kind:
    """An architecture as KerasHub has it.

    Attributes:
        backbone: Its class.
        classifier: The class with a head; empty if there is none.
        layers: Our layer -> the path of KerasHub's. `{}` is the number of an encoder.
        attributes: Our field -> its attribute, if that is not in `_ATTRIBUTES`.
        constants: Fields that its code decides.
    """

    backbone: str
    classifier: str
    layers: Mapping[str, str]
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_ATTRIBUTES = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "dropout",
}


def _layers(block: str, embeddings: str = "") -> dict[str, str]:
    """The layers of every architecture, by the paths of an encoder and of the embeddings."""
    return {
        "embeddings/word_embeddings": f"{embeddings}token_embedding",
        "embeddings/position_embeddings": f"{embeddings}position_embedding",
        "embeddings/layer_norm": "embeddings_layer_norm",
        "encoder_{}/attention/query": f"{block}/self_attention_layer/query",
        "encoder_{}/attention/key": f"{block}/self_attention_layer/key",
        "encoder_{}/attention/value": f"{block}/self_attention_layer/value",
        "encoder_{}/attention/output": f"{block}/self_attention_layer/attention_output",
        "encoder_{}/attention_layer_norm": f"{block}/self_attention_layer_norm",
        "encoder_{}/intermediate": f"{block}/feedforward_intermediate_dense",
        "encoder_{}/feed_forward_output": f"{block}/feedforward_output_dense",
        "encoder_{}/output_layer_norm": f"{block}/feedforward_layer_norm",
        "pooler": "pooled_dense",
        "classifier": "logits",
    }


_BLOCK = "transformer_layer_{}"
_SEGMENTS = "embeddings/segment_embeddings"
_SEGMENT_TABLE = {_SEGMENTS: "segment_embedding"}
_NUM_SEGMENTS = {"type_vocab_size": "num_segments"}
_TANH_GELU = {"hidden_act": "gelu_new"}  # the backbone's own, whatever the model was before it came to KerasHub

KINDS: Mapping[str, Kind] = {
    "bert": Kind(
        "BertBackbone", "BertTextClassifier", {**_layers(_BLOCK), **_SEGMENT_TABLE}, _NUM_SEGMENTS, _TANH_GELU
    ),
    "albert": Kind(
        "AlbertBackbone",
        "AlbertTextClassifier",
        {**_layers("group_{}_inner_layer_0"), **_SEGMENT_TABLE, "embeddings/projection": "embedding_projection"},
        {**_NUM_SEGMENTS, "embedding_size": "embedding_dim"},
        _TANH_GELU,
    ),
    "distilbert": Kind(
        "DistilBertBackbone", "DistilBertTextClassifier", _layers(_BLOCK, "token_and_position_embedding/")
    ),
    "roberta": Kind(
        "RobertaBackbone",
        "RobertaTextClassifier",
        _layers(_BLOCK, "embeddings/"),
        constants={"layer_norm_eps": 1e-5, "type_vocab_size": 1},
    ),
    "electra": Kind(
        "ElectraBackbone",
        "",
        {**_layers(_BLOCK), **_SEGMENT_TABLE, "embeddings/projection": "embeddings_projection"},
        {**_NUM_SEGMENTS, "vocab_size": "vocab_size", "embedding_size": "embedding_dim"},
        _TANH_GELU,
    ),
}

# KerasHub's file of a tokenizer -> its usual name, where they differ.
_TOKENIZER_FILES = {
    "vocabulary.txt": "vocab.txt",
    "vocabulary.spm": "spiece.model",
    "vocabulary.json": "vocab.json",
}


# Setting of a tokenizer -> the only value that is done here.
_ONLY: Mapping[str, Any] = {
    "split": True,
    "split_on_cjk": True,
    "suffix_indicator": "##",
    "oov_token": "[UNK]",
    "special_tokens_in_strings": False,
    "add_prefix_space": False,
    "add_bos": False,
    "add_eos": False,
    "sequence_length": None,
}


def is_meant(checkpoint: Any) -> bool:
    """Whether KerasHub reads this: an object, a `.keras` file, or a preset's folder, address or name."""
    if isinstance(checkpoint, keras.layers.Layer):
        return True
    text = os.fspath(checkpoint)
    if _SCHEME.match(text) or text.endswith(FILE):
        return True
    if os.path.isdir(text):
        return _is_preset_folder(Path(text))
    return not os.path.lexists(text) and _BARE_NAME.fullmatch(text) is not None and text in _preset_names()


def _is_preset_folder(folder: Path) -> bool:
    try:
        return "registered_name" in read_object(folder / "config.json")
    except (OSError, ValueError):
        return False


def _preset_names() -> Mapping[str, Any]:
    try:
        return importlib.import_module("keras_hub").models.Backbone.presets
    except ImportError:
        return {}


def find(checkpoint: str | os.PathLike[str] | keras.layers.Layer) -> Checkpoint:
    """Finds a model of KerasHub and reads its sizes.

    Args:
        checkpoint: A preset's name (`bert_base_en_uncased`), address (`hf://owner/name`, `kaggle://...`) or folder, a
            `.keras` file, or a backbone or classifier itself.

    Raises:
        InputError: KerasHub is not installed or cannot load it, or it is an unsupported model.
    """
    if isinstance(checkpoint, keras.layers.Layer):
        name = f"{type(checkpoint).__name__} {checkpoint.name}"
        return _describe(name, checkpoint, lambda: checkpoint)
    text = os.fspath(checkpoint)
    hub = _require_keras_hub(text)
    if text.endswith(FILE):
        model = _read_file(Path(text))
        return _describe(os.path.abspath(text), model, lambda: model)
    try:
        load = hub.models.TextClassifier.from_preset
        sizes = load(text, load_weights=False)
    except Exception:  # a preset without a trained head needs a number of classes; the backbone reports all else
        load = hub.models.Backbone.from_preset
        sizes = _loaded(text, lambda: load(text, load_weights=False))
    name = os.path.abspath(text) if os.path.isdir(text) else text
    return _describe(name, sizes, lambda: _loaded(text, lambda: load(text)), text)


def _require_keras_hub(checkpoint: str) -> Any:
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise InputError(
            f"checkpoint {checkpoint}: needs KerasHub, which is not installed ({error}); pip install keras-hub."
        ) from None


def _loaded(checkpoint: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # of KerasHub, a hub's client or the network
        raise InputError(
            f"checkpoint {checkpoint}: KerasHub cannot load it ({type(error).__name__}: {first_line(error)}); "
            "expected one of its presets: a folder, or, where the network reaches it, a name or an hf:// or kaggle:// "
            "address."
        ) from None


def _read_file(path: Path) -> keras.layers.Layer:
    if not path.is_file():
        raise InputError(f"checkpoint {path}: no such file; expected a classifier of KerasHub that Keras has saved.")
    try:
        return keras.saving.load_model(path, compile=False)  # in Keras' safe mode, which runs no code in the file
    except Exception as error:  # of a damaged file, of a class that is not registered and so on
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {first_line(error)}).") from None


def _describe(name: str, model: Any, load: Callable[[], keras.layers.Layer], preset: str | None = None) -> Checkpoint:
    backbone = getattr(model, "backbone", model)
    architecture = _architecture_of(name, model, backbone)
    kind, head = KINDS[architecture], model if model is not backbone else None
    if head is not None:
        _check_head(name, head, backbone)
    attributes = {**_ATTRIBUTES, **kind.attributes}
    config = BertConfig(
        **{
            **ARCHITECTURES[architecture].fixed,
            **{field: getattr(backbone, attribute) for field, attribute in attributes.items()},
            **kind.constants,
        },
        architecture=architecture,
        classifier_dropout=None if head is None else head.dropout,
    )
    # KerasHub leaves out the rows before the first position, and the segment, that RoBERTa's releases have.
    config = dataclasses.replace(
        config, max_position_embeddings=config.max_position_embeddings + config.position_offset
    )
    preprocessor = getattr(head, "preprocessor", None)
    if preprocessor is not None and not _is_of_keras_hub(preprocessor):
        raise InputError(
            f"checkpoint {name}: its preprocessor is a {type(preprocessor).__name__}; expected KerasHub's own."
        )
    tokenizer = functools.cache(lambda: _tokenizer(name, preprocessor, preset))
    return Checkpoint(
        name,
        Path(name),
        config,
        lambda: _weights_of(name, load(), config),
        lambda: _unpack(name, tokenizer(), architecture),
        getattr(preprocessor, "sequence_length", None),
        pair_truncation=getattr(preprocessor, "truncate", ROUND_ROBIN),
        ids_of=lambda texts: [list(ids) for ids in tokenizer()(list(texts))],
        is_multi_label=head is not None and _activation(head) == "sigmoid",
    )


def _is_of_keras_hub(thing: Any) -> bool:
    """Whether its class is one of KerasHub's itself: one derived from it may do something else."""
    return type(thing).__module__.startswith("keras_hub.")


def _architecture_of(name: str, model: Any, backbone: Any) -> str:
    # The class itself: one derived from it may have another graph.
    architecture = next((key for key, kind in KINDS.items() if kind.backbone == type(backbone).__name__), None)
    is_known = architecture is not None and _is_of_keras_hub(backbone)
    if not is_known or (model is not backbone and type(model).__name__ != KINDS[str(architecture)].classifier):
        known = [one for kind in KINDS.values() for one in (kind.classifier, kind.backbone) if one]
        raise InputError(f"checkpoint {name}: a {type(model).__name__}; expected one of KerasHub's {', '.join(known)}.")
    groups = [getattr(backbone, attribute, 1) for attribute in ("num_groups", "num_inner_repetitions")]
    if groups != [1, 1]:
        raise InputError(
            f"checkpoint {name}: num_groups={groups[0]}, num_inner_repetitions={groups[1]} are not supported for "
            "ALBERT; expected 1 of each."
        )
    return str(architecture)


def _activation(head: Any) -> str:
    return str(keras.activations.serialize(head.activation))


def _check_head(name: str, head: Any, backbone: Any) -> None:
    activation = _activation(head)
    if activation not in ("linear", "softmax", "sigmoid"):
        raise InputError(
            f"checkpoint {name}: its head ends in {activation}; expected logits, or a softmax or sigmoids of two or "
            "more classes."
        )
    if activation != "linear" and head.num_classes == 1:
        raise InputError(f"checkpoint {name}: a {activation} over one class; expected two or more, or no activation.")
    if getattr(head, "hidden_dim", backbone.hidden_dim) != backbone.hidden_dim:
        raise InputError(
            f"checkpoint {name}: its head has hidden_dim={head.hidden_dim}; expected {backbone.hidden_dim}, the "
            "backbone's."
        )


def _weights_of(name: str, model: Any, config: BertConfig) -> dict[str, np.ndarray]:
    """Our path -> array, of all weights of the model."""
    kind = KINDS[config.architecture]
    learned = [variable for variable in model.weights if "seed_generator" not in variable.path]
    variables = {variable.path: variable for variable in learned if not _LORA.search(variable.path)}
    merged = _merged_with_lora(model)
    weights = {}
    for row in weight_names(config):
        layer, weight = _split(row.ours)
        number = re.search(r"encoder_(\d+)", layer)
        there = kind.layers.get(re.sub(r"encoder_\d+", "encoder_{}", layer), "").format(number and number[1])
        variable = variables.pop(there + (weight or "/embeddings"), None)
        if variable is None:  # of the head, which a backbone lacks; any other is missed in `assign_weights`
            continue
        if not keras.backend.is_float_dtype(variable.dtype):
            raise InputError(f"checkpoint {name}: {variable.path} is {variable.dtype}; expected a model of floats.")
        values = merged.get(variable.path, variable)
        weights[row.ours] = _flattened(layer, weight, keras.ops.convert_to_numpy(values).astype("float32"))
    if variables:
        raise InputError(
            f"checkpoint {name}: holds weights that this model does not have: {list_names(set(variables))}."
        )
    if HEAD[0] not in weights and not ARCHITECTURES[config.architecture].pretrains_pooler:
        weights = {path: array for path, array in weights.items() if path not in POOLER}
    if config.type_vocab_size and _SEGMENTS not in kind.layers:  # the one segment of RoBERTa's releases
        weights[_SEGMENTS] = np.zeros((config.type_vocab_size, config.embedding_width), "float32")
    table = weights["embeddings/position_embeddings"]
    weights["embeddings/position_embeddings"] = np.pad(table, [[config.position_offset, 0], [0, 0]])
    return weights


def _merged_with_lora(model: Any) -> dict[str, Any]:
    """The path of each matrix to which `enable_lora` has added two others -> its values with them."""
    found = {}
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            # The property has what the layer computes with; the variable beneath, what it had before.
            name = "embeddings" if hasattr(layer, "embeddings") else "kernel"
            found[f"{layer.path}/{name}"] = getattr(layer, name)
    return found


def _split(path: str) -> tuple[str, str]:
    """A layer and the name of its weight, which is empty for a table."""
    layer, _, weight = path.rpartition("/")
    return (path, "") if weight.endswith("_embeddings") else (layer, f"/{weight}")


def _flattened(layer: str, weight: str, array: np.ndarray) -> np.ndarray:
    """The array with heads and their sizes as one axis, where KerasHub has two."""
    if "/attention/" not in layer:
        return array
    if weight == "/bias":
        return array.reshape(-1)
    return array.reshape(-1, array.shape[-1]) if layer.endswith("/output") else array.reshape(len(array), -1)


def _tokenizer(name: str, preprocessor: Any, preset: str | None) -> Any:
    if preset is not None:  # a model without weights may lack its tokenizer's files too
        hub = _require_keras_hub(preset)
        return _loaded(preset, lambda: hub.models.Tokenizer.from_preset(preset))
    tokenizer = getattr(preprocessor, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            f"checkpoint {name}: has no preprocessor, and so no tokenizer; give it the one that it was trained with: "
            "BertTextClassifier(..., preprocessor=BertTextClassifierPreprocessor(tokenizer))."
        )
    return tokenizer


def _unpack(name: str, tokenizer: Any, architecture: str) -> Path:
    """Writes a tokenizer's files under their usual names, with a configuration of how it treats texts.

    Raises:
        InputError: It has a setting that is not supported.
    """
    if not _is_of_keras_hub(tokenizer):
        raise InputError(f"checkpoint {name}: its tokenizer is a {type(tokenizer).__name__}; expected KerasHub's own.")
    for setting, value in _ONLY.items():
        found = getattr(tokenizer, setting, value)
        if found != value:
            raise InputError(
                f"checkpoint {name}: its tokenizer has {setting}={found!r}, which is not supported; expected {value!r}."
            )
    path = Path(tempfile.mkdtemp(prefix="powerbert-tokenizer-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)  # until then, exports copy them
    tokenizer.save_assets(str(path))
    for theirs, ours in _TOKENIZER_FILES.items():
        if (path / theirs).exists():
            shutil.move(path / theirs, path / ours)
    if ARCHITECTURES[architecture].tokenizer == SENTENCE_PIECES:
        settings = {"do_lower_case": False, "plain": True}
    else:
        attributes = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
        settings = {key: bool(getattr(tokenizer, name, False)) for key, name in attributes.items()}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return path
