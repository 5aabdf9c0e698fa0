"""A version folder to serve: SavedModel, expected answers, warm-up requests and model card, all of it or nothing.

What `tensorflow_model_server` is told about an export: `model.config` and `batching.config`.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.common.files import PARTIAL, replacing, sync, write_json
from powerbert_tf.common.locks import exclusive
from powerbert_tf.data.race import input_texts
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.expectations import HOSTILE_TEXTS, Expectations, check_answers
from powerbert_tf.export.shapes import ServingShapes
from powerbert_tf.export.signatures import build_signatures, in_precision, text_inputs
from powerbert_tf.export.warmup_requests import write_warmup_requests
from powerbert_tf.models.classifier import INPUTS, BertClassifier
from powerbert_tf.tokenizers.word_pieces import Tokenizer

CARD_FILE = "README.md"
TASK_FILE = "task.json"  # what inputs and answers mean
_TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 0.1}  # by what is computed in


def next_version(folder: Path) -> int:
    """The version after the highest one in `folder`, from 1."""
    versions = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()] if folder.is_dir() else []
    return max(versions, default=0) + 1


def expect(
    models: Mapping[str, BertClassifier],
    task: Task,
    tokenizer: Tokenizer,
    samples: Sequence[Sequence[str]],
    shapes: ServingShapes,
) -> Expectations:
    """What the models answer, called as they are, to usual and to hostile texts.

    Args:
        models: By the suffix of their signatures.
        task: Of the models.
        tokenizer: Cuts the texts.
        samples: Usual requests, one or two texts each, or of multiple choice article, question and options; at least
            one.
        shapes: Their precision says how close a served answer has to be.
    """
    names = text_inputs(task)
    encoded = [tuple(text.encode("utf-8", "surrogatepass") for text in texts) for texts in samples]
    texts = (*encoded, *((text,) * len(names) for text in HOSTILE_TEXTS))
    first, *_ = models.values()
    columns = [tf.constant(column) for column in zip(*texts, strict=True)]
    token_ids, segment_ids = tokenizer(input_texts(columns, task.choices), first.max_seq_length)
    inputs = (token_ids.to_tensor(tokenizer.pad_id), segment_ids.to_tensor(), tf.sequence_mask(token_ids.row_lengths()))
    request = {name: tf.cast(values, tf.int32) for name, values in zip(INPUTS, inputs, strict=True)}

    def answers(model):
        logits = model(request, training=False)
        values = logits[:, 0] if task.is_regression else keras.ops.softmax(logits, axis=-1)
        return np.asarray(keras.ops.convert_to_numpy(values))

    return Expectations(
        task=task.name,
        classes=tuple(task.classes),
        text_inputs=names,
        max_seq_length=first.max_seq_length,
        vocab_size=first.config.vocab_size,
        batch_size=shapes.batch_size,
        tolerance=max(_TOLERANCES[dtype] for dtype in (shapes.precision, first.encoders[0].compute_dtype)),
        texts=texts,
        token_ids=tuple(map(tuple, token_ids.to_list())),
        segment_ids=tuple(map(tuple, segment_ids.to_list())),
        answers={suffix: answers(model) for suffix, model in models.items()},
        num_samples=len(samples),
        choices=task.choices,
    )


def export_saved_model(*arguments: Any, **options: Any) -> Path:
    """`saved_model_written`, at once; the new version's folder."""
    with saved_model_written(*arguments, **options) as version:
        return version


@contextlib.contextmanager
def saved_model_written(
    models: Mapping[str, BertClassifier],
    task: Task,
    tokenizer: Tokenizer,
    vocabulary: Sequence[Path],
    folder: Path,
    samples: Sequence[Sequence[str]],
    shapes: ServingShapes | None = None,
    card: str = "",
    description: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """A new `<folder>/<version>/`, which is there, whole, when the block ends without an error.

    All of it is written aside before the block, and its answers are compared with the models'.

    `signatures.build_signatures` says which signatures it has. Beside the versions there are files for
    `tensorflow_model_server`, see `write_server_files`.

    Args:
        models: What to export, by the suffix of their signatures, `""` for none; they share their weights.
        task: Of the models.
        tokenizer: Theirs.
        vocabulary: Its files.
        folder: Folder of the versions.
        samples: Usual requests, one or two texts each: they are compared, and sent to warm up a server.
        shapes: In which the models are called; by default whatever comes.
        card: The model card.
        description: Written into the version's folder as `task.json`: what inputs and answers mean.

    Yields:
        The new version's folder, which is not there yet.

    Raises:
        InputError: Another process exports into the folder.
        OSError: The files cannot be written.
        RuntimeError: The written model gives other answers.
    """
    shapes = shapes or ServingShapes()
    expected = expect(models, task, tokenizer, samples, shapes)
    if shapes.precision != "float32":
        models = in_precision(models, shapes.precision)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), contextlib.ExitStack() as left:
        version = folder / str(next_version(folder))
        written = version.with_suffix(PARTIAL)
        left.callback(shutil.rmtree, written, ignore_errors=True)
        module, functions = build_signatures(models, task, tokenizer, vocabulary, shapes)
        try:
            tf.saved_model.save(module, str(written), signatures=functions)
        except tf.errors.OpError as error:  # TensorFlow's own error for a full disk, say
            raise OSError(f"{folder}: the SavedModel cannot be written ({error.message})") from error

        signatures = tf.saved_model.load(str(written)).signatures
        _, wrong = check_answers(signatures, expected, alone=False)
        if wrong:
            raise RuntimeError(f"{folder}: the exported model gives other answers: {wrong[0]}.")
        expected.write(written)
        write_warmup_requests(written, expected, functions, shapes.lengths, shapes.batch_sizes)
        (written / CARD_FILE).write_text(card, encoding="utf-8")
        if description is not None:
            write_json(written / TASK_FILE, dict(description))
        _sync(written)
        write_server_files(folder, task.name, shapes)
        yield version
        written.rename(version)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder to oneself, without what a killed export left there."""
    with exclusive(folder, "exports into"):
        for left in folder.glob(f"*{PARTIAL}"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _sync(folder: Path) -> None:
    """Puts files onto the disk, before their folder gets the name by which a server finds it."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


MODEL_CONFIG, BATCHING_CONFIG = "model.config", "batching.config"
_LARGEST_BATCH = 32


def write_server_files(folder: Path, name: str, shapes: ServingShapes) -> None:
    """Writes both beside the versions; each appears whole.

    Args:
        folder: Folder of the versions.
        name: The model's name in requests; the folder is expected to be mounted at `/models/<name>`.
        shapes: In which the model is called.
    """
    model = f"""# --model_config_file=/models/{name}/{MODEL_CONFIG}
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    # The newest version is served. To roll back, name another one:
    # model_version_policy {{ specific {{ versions: 1 }} }}
  }}
}}
"""
    largest = shapes.batch_size or _LARGEST_BATCH
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in shapes.batch_sizes if size <= largest)
    batching = f"""# --enable_batching --batching_parameters_file=/models/{name}/{BATCHING_CONFIG}
max_batch_size {{ value: {largest} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
# Padding by the server repeats the first element of a tensor, so that a padding_mask would be filled with ones, and
# answers be wrong without an error. Texts need none; requests of ids that share a batch have to be of one length.
pad_variable_length_inputs: false
{allowed}"""
    for file, content in ((MODEL_CONFIG, model), (BATCHING_CONFIG, batching)):
        with replacing(folder / file) as partial:
            partial.write_text(content, encoding="utf-8")
