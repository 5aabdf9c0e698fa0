"""How much is padding, by the number of padded lengths, and XLA against the plain graph on some of them.

python -m benchmarks.inference.padded_lengths --task=MRPC --calls=7

Prints Markdown. Padding is counted over the batches of one epoch; times are medians of calls in turns, after the first
one, which compiles.
"""

import dataclasses
import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags

from benchmarks.common.markdown import table
from benchmarks.common.turns import time_in_turns
from powerbert_tf.batches.encoded_split import EncodedSplit, encode_split
from powerbert_tf.batches.padded_batches import Batches, prediction_batches, training_batches
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.tasks import get_task
from powerbert_tf.latency.timing import device_name
from powerbert_tf.models.classifier import with_retention
from powerbert_tf.models.compilation import compiled_once
from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased, read_vocabulary
from powerbert_tf.training.losses import task_loss
from powerbert_tf.training.optimizer import BertAdam

FLAGS = flags.FLAGS
_BUCKETS = (1, 2, 4, 8, 16, 32)
_MULTIPLE = 8  # what else is often padded to


def padding_share(batches: Batches) -> float:
    """Returns the share of computed rows that are padding."""
    computed = sum(len(batches.rows(at)) * length for at, length in enumerate(batches.lengths))
    return 1 - batches.encoded.lengths[batches.order()].sum() / computed


def _print_padding(splits: dict[str, EncodedSplit], batch_size: int) -> None:
    titles = ["N", f"multiples of {_MULTIPLE}", *(f"{count} lengths" for count in _BUCKETS)]
    rows = []
    for name, split in splits.items():
        ways = [training_batches(split, batch_size, 1, 0, "max")]
        for count in _BUCKETS:
            if name == "train":
                ways.append(training_batches(split, batch_size, 1, 0, length_buckets=count))
            else:
                ways.append(prediction_batches(split, batch_size, length_buckets=count))
        longest = np.array([split.lengths[ways[-1].rows(at)].max() for at in range(len(ways[-1]))])
        rounded = np.minimum(-(-longest // _MULTIPLE) * _MULTIPLE, split.max_seq_length)
        ways.insert(1, dataclasses.replace(ways[-1], lengths=rounded))
        shares = (f"{100 * padding_share(batches):.1f} %" for batches in ways)
        rows.append({f"batches of {batch_size}": name, **dict(zip(titles, shares, strict=True))})
    print(table(rows))


def _print_times(split: EncodedSplit, task, batch_size: int) -> None:
    dense = load_classifier(find_checkpoint(FLAGS.checkpoint), task.num_outputs, task.max_seq_length)
    fractions = np.round(np.linspace(0.9, 0.1, len(dense.encoders)), 1)
    reduced = with_retention(dense, tuple(float(fraction) for fraction in fractions))

    def trainer(jit_compile: bool):
        model = keras.Model(dense.input, dense.output)
        model.compile(BertAdam(1e-5), task_loss(task), jit_compile=jit_compile)
        model.make_train_function()
        return model

    trainers = {jit: trainer(jit) for jit in (False, True)}
    print(f"\n{device_name()}\n")
    print("| batch x length | what | plain graph, ms | XLA, ms | plain / XLA | XLA's first call, s |")
    print("| --- |" + " --- |" * 5)
    batches = training_batches(split, batch_size, 1, 0, length_buckets=FLAGS.lengths, fill=True).of_each_length()
    for number, length in enumerate(batches.lengths):
        one = batches.select(slice(number, number + 1))
        inputs = one.inputs(0)
        steps = {jit: iter(one.dataset(with_labels=True).repeat()) for jit in trainers}

        def predict(model, jit, inputs=inputs):
            return compiled_once(model, jit)(inputs).numpy()

        def train(_, jit, steps=steps):
            return float(trainers[jit].train_function(steps[jit])["loss"])

        for what, function, model in (
            ("prediction, dense", predict, dense),
            ("prediction, reduced", predict, reduced),
            ("training step, dense", train, dense),
        ):
            ways = {str(jit): functools.partial(function, model, jit) for jit in trainers}
            found = time_in_turns(ways, 1 + FLAGS.calls)
            plain, compiled = (float(np.median(found[str(jit)][1:])) for jit in trainers)
            row = f"{plain:.1f} | {compiled:.1f} | {plain / compiled:.2f} | {found['True'][0] / 1000:.1f}"
            print(f"| {batch_size} x {length} | {what} | {row} |", flush=True)


def main(argv: list[str]) -> None:
    """Counts, then times."""
    task = get_task(FLAGS.task)
    vocabulary = read_vocabulary(find_checkpoint(FLAGS.checkpoint).folder / "vocab.txt")
    tokenizer = Tokenizer(vocabulary, not is_cased(vocabulary))
    dataset = load_dataset(task, FLAGS.data_dir)
    splits = {name: encode_split(dataset.splits[name], tokenizer, task.max_seq_length) for name in ("train", "dev")}
    _print_padding(splits, FLAGS.batch_size)
    if FLAGS.lengths:
        _print_times(splits["train"], task, FLAGS.batch_size)


def define_flags() -> None:
    """Flags of the command."""
    flags.DEFINE_string("task", "MRPC", "GLUE task.")
    flags.DEFINE_string("data_dir", "glue_data", "Folder that holds <TASK>/{train,dev,test}.tsv.")
    flags.DEFINE_string("checkpoint", "", "As --checkpoint of run_glue.py.")
    flags.DEFINE_integer("batch_size", 32, "Examples of a batch.")
    flags.DEFINE_integer("lengths", 2, "Padded lengths to time; 0 to count padding only.")
    flags.DEFINE_integer("calls", 9, "Calls of each, in turns.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
