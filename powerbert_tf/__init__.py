"""PoWER-BERT for Keras: faster BERT inference by progressive word-vector elimination."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powerbert_tf.acceleration import accelerate
    from powerbert_tf.checkpoints import load_classifier
    from powerbert_tf.modeling import with_retention
    from powerbert_tf.retention_file import read_retention

__version__ = "0.1.0"
__all__ = ["accelerate", "load_classifier", "read_retention", "with_retention"]


def __getattr__(name: str):
    # Late, so that the plain arithmetic can be imported without Keras.
    if name == "accelerate":
        from powerbert_tf.acceleration import accelerate

        return accelerate
    if name == "load_classifier":
        from powerbert_tf.checkpoints import load_classifier

        return load_classifier
    if name == "with_retention":
        from powerbert_tf.modeling import with_retention

        return with_retention
    if name == "read_retention":
        from powerbert_tf.retention_file import read_retention

        return read_retention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
