"""Google's format: a TF1 checkpoint, `bert_model.ckpt.*` or ALBERT's `model.ckpt-best.*`."""

from pathlib import Path

import numpy as np

from powerbert_tf.checkpoints.configurations import google_config
from powerbert_tf.checkpoints.google_index import STRING, read_index
from powerbert_tf.checkpoints.names import is_known_extra, weight_names
from powerbert_tf.checkpoints.weights import list_names, named_weights
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.files import write_json
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig


def read_weights(prefix: Path, config: BertConfig) -> dict[str, np.ndarray]:
    """Reads the checkpoint's weights.

    Args:
        prefix: What the names of its files begin with.
        config: Sizes.

    Returns:
        Our path -> array; with `classifier/kernel` and `classifier/bias` where the checkpoint holds a head.

    Raises:
        InputError: The checkpoint is missing or damaged, or holds a variable that is no part of a BERT.
    """
    import tensorflow as tf  # only here, so that models load without TensorFlow on other backends

    shards = sorted(prefix.parent.glob(f"{prefix.name}.data-?????-of-?????"))
    if not shards:
        raise InputError(f"{prefix}.data-*: no such file; the checkpoint is incomplete.")
    expected_shards = int(shards[0].name.rsplit("-", 1)[1])
    if len(shards) != expected_shards:
        raise InputError(f"{prefix}.data-*: {len(shards)} of {expected_shards} files; the checkpoint is incomplete.")
    try:
        index = read_index(Path(f"{prefix}.index"), shards)
        reader = tf.train.load_checkpoint(str(prefix))
        present = set(reader.get_variable_to_shape_map())
        if present != index.keys():
            raise ValueError("a block that cannot be read")
        names = [name for name in weight_names(config) if name.google in present]
        left_over = {
            name
            for name in present - {name.google for name in names}
            if not is_known_extra(config.architecture, google=name)
        }
        if left_over:
            raise InputError(
                f"{prefix}: holds variables that are no part of this {ARCHITECTURES[config.architecture].title}: "
                f"{list_names(left_over)}."
            )
        if no_numbers := [name for name in present if index[name].dtype == STRING]:
            raise ValueError(f"{list_names(no_numbers)} of texts; expected numbers")
        weights = {name.ours: reader.get_tensor(name.google) for name in names}
        for name in present - {name.google for name in names}:
            reader.get_tensor(name)  # of no use here, but a file that ends before it was not copied whole
    except (tf.errors.OpError, RuntimeError, IndexError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{prefix}: cannot be read; damaged or truncated? ({first_line(error)})") from None
    return {name.ours: weights[name.ours].T if name.google_transposed else weights[name.ours] for name in names}


def write_checkpoint(folder: Path, model: BertClassifier) -> None:
    """Writes the model under Google's names, the head as in its `run_classifier.py`; it eliminates nothing.

    Args:
        folder: An existing folder.
        model: The model.

    Raises:
        InputError: Google has no release of this architecture, or no word for what the model does.
    """
    import tensorflow as tf

    files, values = google_config(model.config)
    ours = named_weights(model)
    arrays = {name: ours[name.ours].numpy() for name in weight_names(model.config)}
    tf.raw_ops.SaveV2(
        prefix=str(folder / files.prefix),
        tensor_names=[name.google for name in arrays],
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(array.T if name.google_transposed else array) for name, array in arrays.items()],
    )
    write_json(folder / files.config, values)
