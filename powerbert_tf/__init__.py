"""PoWER-BERT for Keras: faster BERT inference by progressive word-vector elimination."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from powerbert_tf.acceleration import FastClassifier, accelerate, load, train
    from powerbert_tf.checkpoints import load_classifier
    from powerbert_tf.elimination.extract import Extract
    from powerbert_tf.elimination.reduction import Reduction
    from powerbert_tf.elimination.retention import read_retention
    from powerbert_tf.elimination.significance import register_score, significance_scores
    from powerbert_tf.models.classifier import with_retention
    from powerbert_tf.search.rebuilding import with_reduction

__version__ = "0.1.0"
__all__ = [
    "Extract",
    "FastClassifier",
    "Reduction",
    "accelerate",
    "load",
    "load_classifier",
    "read_retention",
    "register_score",
    "significance_scores",
    "train",
    "with_reduction",
    "with_retention",
]

# Imported on first use, so that plain arithmetic needs no Keras.
_PLACES = {
    "Extract": "powerbert_tf.elimination.extract",
    "FastClassifier": "powerbert_tf.acceleration",
    "Reduction": "powerbert_tf.elimination.reduction",
    "accelerate": "powerbert_tf.acceleration",
    "load": "powerbert_tf.acceleration",
    "load_classifier": "powerbert_tf.checkpoints",
    "read_retention": "powerbert_tf.elimination.retention",
    "register_score": "powerbert_tf.elimination.significance",
    "significance_scores": "powerbert_tf.elimination.significance",
    "train": "powerbert_tf.acceleration",
    "with_reduction": "powerbert_tf.search.rebuilding",
    "with_retention": "powerbert_tf.models.classifier",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# What a `.keras` file may hold: models and layers, and the optimizer and losses of one that was compiled.
_REGISTERING = (
    "powerbert_tf.models.classifier",
    "powerbert_tf.training.elastic",
    "powerbert_tf.training.losses",
    "powerbert_tf.training.optimizer",
)


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    if "keras" in sys.modules:
        _register()
    return found


def _register() -> None:
    """Imports all that is registered with Keras, so that `keras.saving.load_model` finds it."""
    for place in _REGISTERING:
        importlib.import_module(place)


def _register_first(_: Any) -> None:
    # Where a module of this package is what imports Keras, it may be one that those need.
    own = [module for name, module in sys.modules.items() if name.startswith(f"{__name__}.")]
    if not any(getattr(module.__spec__, "_initializing", False) for module in own):
        _register()


wrapt.register_post_import_hook(_register_first, "keras")
