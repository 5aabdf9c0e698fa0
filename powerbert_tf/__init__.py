"""PoWER-BERT for Keras: faster BERT inference by progressive word-vector elimination."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powerbert_tf.acceleration import accelerate
    from powerbert_tf.checkpoints import load_classifier
    from powerbert_tf.elimination.reduction import Reduction
    from powerbert_tf.elimination.retention import read_retention
    from powerbert_tf.elimination.significance import register_score
    from powerbert_tf.models.classifier import with_retention
    from powerbert_tf.search.rebuilding import with_reduction

__version__ = "0.1.0"
__all__ = [
    "Reduction",
    "accelerate",
    "load_classifier",
    "read_retention",
    "register_score",
    "with_reduction",
    "with_retention",
]

# Imported on first use, so that plain arithmetic needs no Keras.
_PLACES = {
    "Reduction": "powerbert_tf.elimination.reduction",
    "accelerate": "powerbert_tf.acceleration",
    "load_classifier": "powerbert_tf.checkpoints",
    "read_retention": "powerbert_tf.elimination.retention",
    "register_score": "powerbert_tf.elimination.significance",
    "with_reduction": "powerbert_tf.search.rebuilding",
    "with_retention": "powerbert_tf.models.classifier",
}


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
