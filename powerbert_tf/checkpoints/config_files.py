"""Configuration files of other tools, written from a `BertConfig`; `models.config` reads them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import CLASSES, NUMBER, Kind
from powerbert_tf.models.architectures import ARCHITECTURES, GoogleFiles, titles_of_google
from powerbert_tf.models.config import BertConfig

_EPSILON = 1e-12  # of every LayerNorm in Google's code, which has no key for it
# Values that a class of `transformers` would otherwise set differently.
_HUGGING_FACE_EXTRA: Mapping[str, Mapping[str, Any]] = {
    "roberta": {"bos_token_id": 0, "eos_token_id": 2},
    "distilbert": {"sinusoidal_pos_embds": False},
}
# Fields without a key in other tools' configurations, at the value that those imply.
_COMMON = {
    "position_offset": 0,
    "projects_embeddings": None,
    "shares_encoders": False,
    "pooler_act": "tanh",
    "dropout_before_pooler": False,
}


def hugging_face_config(
    config: BertConfig, classes: Sequence[str], num_outputs: int, pad_id: int, kind: Kind | None = None
) -> dict[str, Any]:
    """Content of `config.json` for the architecture's `...ForSequenceClassification`.

    Args:
        config: Sizes.
        classes: Their names, in the order of the logits; none for a regression.
        num_outputs: Logits per example, C.
        pad_id: Of the padding token.
        kind: What the logits mean; by default one is a number, and several are classes.
    """
    kind = kind or (CLASSES if num_outputs > 1 else NUMBER)
    row = ARCHITECTURES[config.architecture]
    labels = list(classes) or [f"LABEL_{number}" for number in range(num_outputs)]
    return {
        "architectures": [f"{row.class_prefix}ForSequenceClassification"],
        "model_type": config.architecture,
        **_sizes(config),
        **row.required,
        **_HUGGING_FACE_EXTRA.get(config.architecture, {}),
        "pad_token_id": pad_id,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": kind.problem_type,
    }


def google_config(config: BertConfig) -> tuple[GoogleFiles, dict[str, Any]]:
    """Google's names of an architecture's files, and the content of its configuration.

    Raises:
        InputError: Google has no release of the architecture, or its code cannot do what the model does.
    """
    row = ARCHITECTURES[config.architecture]
    if row.google is None:
        raise InputError(f"{row.title} has no format of Google's; expected one of {titles_of_google()}.")
    values = _sizes(config)
    for name, words in row.google.spelled.items():
        spelled = {meant: word for word, meant in words.items()}
        if values[name] in words and values[name] not in spelled:
            raise InputError(
                f"{name}={values[name]!r} cannot be written as Google's {row.title}, whose {values[name]!r} means "
                f"{words[values[name]]!r}."
            )
        values[name] = spelled.get(values[name], values[name])
    if values["layer_norm_eps"] == _EPSILON:
        del values["layer_norm_eps"]
    return row.google, {**values, **row.required}


def _sizes(config: BertConfig) -> dict[str, Any]:
    """Key -> value of the fields that are set and that the architecture does not decide, under its own keys."""
    row = ARCHITECTURES[config.architecture]
    left_out = {"architecture", "pad_token_id", *row.fixed, *(n for n, v in _COMMON.items() if getattr(config, n) == v)}
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in left_out}
    return {row.keys.get(name, name): value for name, value in values.items() if value is not None}
