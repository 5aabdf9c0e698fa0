"""From text and labels to a fast classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.acceleration.fast_classifier import FastClassifier
from powerbert_tf.acceleration.given_data import column_settings, read_given
from powerbert_tf.acceleration.making import check_settings, make_fast, require_new, take_table_settings
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import reporting, say
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.runs.settings import resolve_settings


def train(
    data: Any,
    checkpoint: Any = None,
    target_speedup: float | None = 2.0,
    *,
    dev_data: Any = None,
    classes: Sequence[str] = (),
    text_column: str = "",
    text_pair_column: str = "",
    label_column: str | Sequence[str] = "",
    label_separator: str = "",
    on_bad_row: str = "error",
    name: str = "",
    output_dir: str | Path | None = None,
    verbose: int = 1,
    **settings: Any,
) -> FastClassifier:
    """Fine-tunes a checkpoint on labelled texts, makes it faster, and measures what that cost.

    The stages are those of the command line: fine-tune, search, re-train, evaluate.

    Args:
        data: Texts with labels: the path of a table (`docs/data.md`), a `pandas.DataFrame`, a pair `(texts, labels)`,
            or a `tf.data.Dataset` of `(text, label)` or `((text, other), label)`. Labels are names or numbers of
            classes, lists of them, or numbers to predict.
        checkpoint: What to start from: a folder in Google's or Hugging Face's format, or a model of KerasHub; None for
            MiniLM from the installed package.
        target_speedup: Times faster than the fine-tuned model on the same length-grouped batches; None if the settings
            have `max_loss` or `target_latency_ms` instead.
        dev_data: Data to measure on, of any of these kinds; without it, a share of the data is split off.
        classes: Names of the classes, in the order of the model's outputs; by default those that occur, sorted.
        text_column: Column of the texts in a table or data frame; by default `text` in a data frame.
        text_pair_column: Column of the second texts, for pairs.
        label_column: Column of the labels; by default `label`, if there is one. Several have 0 or 1 for each label.
        label_separator: What is between the labels of a row that has any number of them; found by default.
        on_bad_row: `"error"`, or `"skip"` to leave out rows that cannot be used.
        name: Name of the task.
        output_dir: A new or empty folder for settings, weights and results, which resumes nothing; None to write
            nothing.
        verbose: 0 for no output, 1 for progress. The report is printed by neither; it is in the returned object.
        **settings: Settings of the run, by the names of its flags: `max_seq_length`, `epochs`, `learning_rate`,
            `batch_size`, `metric`, `max_loss`, `seed` and so on; of a table, `delimiter`, `encoding`, `columns` and
            `quoting`.

    Returns:
        The reduced model with its report, which can predict, be saved and be exported.

    Raises:
        InputError: The data has no labels, the checkpoint is unsupported, a setting is unknown, or the target is out of
            reach. All this is found before anything is trained.
        OSError: A file cannot be read or written.

    Example:
        >>> fast = powerbert_tf.train((texts, labels), "checkpoint", 1.5, verbose=0, epochs=1, epochs_retrain=1)
        >>> type(fast).__name__
        'FastClassifier'
    """
    check_settings("train", settings)
    root = require_new(output_dir)
    columns = column_settings(
        text_column, text_pair_column, label_column, label_separator, on_bad_row, **take_table_settings(settings)
    )
    given = read_given({"train": data, "dev": dev_data}, columns, name)
    if not given.has_labels:
        raise InputError(
            "data: has no labels; expected label_column, or a pair (texts, labels). A classifier that is trained "
            "already needs none: powerbert_tf.accelerate."
        )
    own = load_own_data(given.settings, name, tuple(map(str, classes)), given.tables)
    found = find_checkpoint(checkpoint)
    with reporting(verbose):
        say(own.summary)
        folder = {} if root is None else {"output_dir": str(root)}
        resolved = resolve_settings(
            own.task, target_speedup=target_speedup, checkpoint=found.name, **folder, **settings
        )
        return make_fast(resolved, own, found, root, adopts=False)
