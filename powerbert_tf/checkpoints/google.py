"""Google's format: a TF1 checkpoint, `bert_model.ckpt.*` or ALBERT's `model.ckpt-best.*`, or as training leaves it."""

import functools
import re
from pathlib import Path

import numpy as np

from powerbert_tf.checkpoints.checkpoint import ROUND_ROBIN, Checkpoint, require_bytes
from powerbert_tf.checkpoints.config_files import google_config
from powerbert_tf.checkpoints.google_index import STRING, read_index
from powerbert_tf.checkpoints.names import GOOGLE_EXTRA, weight_names
from powerbert_tf.checkpoints.weights import in_one_width, list_names, named_weights
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.files import write_json
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, read_bert_config

_OF_OBJECTS = "/.ATTRIBUTES/VARIABLE_VALUE"
_LATEST = re.compile(r'^model_checkpoint_path: "(.*)"$', re.MULTILINE)  # in the file `checkpoint`


def find(name: str, folder: Path, given: Path | None = None) -> Checkpoint | None:
    """The checkpoint in a folder; None if the folder has no file of Google's.

    Args:
        name: For messages.
        folder: Where the configuration is.
        given: What the names of the checkpoint's files begin with; None to find it in the folder.

    Raises:
        InputError: The checkpoint is incomplete, its configuration is damaged, or there are several.
    """
    rows = {name: row.google for name, row in ARCHITECTURES.items() if row.google is not None}
    with_config = {name: files for name, files in rows.items() if (folder / files.config).is_file()}
    for architecture, files in (with_config or rows).items():
        path, prefix = folder / files.config, given or folder / files.prefix
        if path.is_file() and not given:
            prefix = _find_prefix(prefix)
        index = Path(f"{prefix}.index")
        if path.is_file() or index.is_file():
            config = read_bert_config(path, architecture)
            if not index.is_file():
                raise InputError(f"{index}: no such file; the checkpoint is incomplete.")
            require_bytes(config, path, sorted(folder.glob(f"{prefix.name}.data-*")))
            read = functools.partial(read_weights, prefix, config)
            return Checkpoint(name, folder, config, read, pair_truncation=ROUND_ROBIN)
    return None


def _find_prefix(usual: Path) -> Path:
    """What the names of the files begin with: as released, or `model.ckpt-343` as `run_classifier.py` leaves them.

    Raises:
        InputError: There are several, and no file `checkpoint` that names the last one.
    """
    folder = usual.parent
    steps = {path.with_suffix("").name for path in folder.glob("model.ckpt-*.index")}
    if Path(f"{usual}.index").is_file() or not steps:
        return usual
    state = folder / "checkpoint"
    named = _LATEST.search(state.read_text(encoding="utf-8", errors="replace")) if state.is_file() else None
    latest = Path(named[1]).name if named else ""
    if latest not in steps and len(steps) > 1:
        raise InputError(
            f"checkpoint {folder}: holds {', '.join(sorted(steps))}; expected one, a file `checkpoint` that names the "
            f"last one, or such as {folder / min(steps)} as the checkpoint."
        )
    return folder / (latest if latest in steps else min(steps))


def read_weights(prefix: Path, config: BertConfig) -> dict[str, np.ndarray]:
    """Reads the weights of the checkpoint whose files begin with `prefix`.

    Returns:
        Our path -> array; with `classifier/kernel` and `classifier/bias` if the checkpoint holds a head.

    Raises:
        InputError: The checkpoint is missing or damaged, or holds a variable that does not belong to the architecture.
    """
    import tensorflow as tf  # here, so that models load without TensorFlow on other backends

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
        if any(name.endswith(_OF_OBJECTS) for name in present):
            raise InputError(
                f"{prefix}: a checkpoint of TensorFlow 2, whose variables are named by objects; expected names such as "
                "bert/encoder/layer_0. Load it with the code that wrote it, and save it in Hugging Face's format."
            )
        names = [name for name in weight_names(config) if name.google in present]
        others = present - {name.google for name in names}
        if left_over := {name for name in others if not GOOGLE_EXTRA.fullmatch(name)}:
            raise InputError(
                f"{prefix}: holds variables that do not belong to this {ARCHITECTURES[config.architecture].title}: "
                f"{list_names(left_over)}."
            )
        if no_numbers := [name for name in present if index[name].dtype == STRING]:
            raise ValueError(f"{list_names(no_numbers)} of texts; expected numbers")
        weights = {name.ours: reader.get_tensor(name.google) for name in names}
        for name in others:
            reader.get_tensor(name)  # unused, but a file that ends before it is incomplete
    except (tf.errors.OpError, RuntimeError, IndexError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{prefix}: cannot be read; damaged or truncated? ({first_line(error)})") from None
    return {name.ours: weights[name.ours].T if name.google_transposed else weights[name.ours] for name in names}


def write_checkpoint(folder: Path, model: BertClassifier) -> None:
    """Writes the model under Google's names, with the head of `run_classifier.py` and without elimination.

    Encoders of a narrowed model are filled up with zeros, see `weights.in_one_width`.

    Raises:
        InputError: Google has no release of this architecture, or its code cannot do what the model does.
    """
    import tensorflow as tf

    model = in_one_width(model)
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
