"""Makes a trained classifier faster, and reports what it lost and gained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.acceleration.fast_classifier import FastClassifier
from powerbert_tf.acceleration.given_data import column_settings, read_given
from powerbert_tf.acceleration.making import check_settings, make_fast, require_new, take_table_settings
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import reporting, say
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.runs.trained_classifier import (
    find_trained_classifier,
    load_labeled,
    load_unlabelled,
    require_disagreement,
)


def accelerate(
    model: Any,
    data: Any,
    target_speedup: float | None = 3.0,
    retrain: bool = True,
    *,
    dev_data: Any = None,
    classes: Sequence[str] = (),
    text_column: str = "",
    text_pair_column: str = "",
    label_column: str | Sequence[str] = "",
    label_separator: str = "",
    max_disagreement: float | None = None,
    on_bad_row: str = "error",
    name: str = "",
    output_dir: str | Path | None = None,
    verbose: int = 1,
    **settings: Any,
) -> FastClassifier:
    """Makes a trained classifier faster: each encoder keeps the word-vectors, neurons and heads that matter most.

    The search needs no training and takes minutes. Re-training then brings the answers of the reduced model back
    towards the original's on the training texts.

    Args:
        model: A KerasHub classifier, its `.keras` file or preset folder, or a folder of a Hugging Face or Google
            checkpoint with a trained head.
        data: Texts with or without labels, such as last week's requests: the path of a table (`docs/data.md`), a
            `pandas.DataFrame`, a pair `(texts, labels)`, a `tf.data.Dataset` of `(text, label)` or `((text, other),
            label)`; or texts alone in any container. Labels are names of the model's classes or their numbers from 0;
            for a multi-label model, lists of them, or arrays `[n, C]` of 0 and 1; for a model with one output, the
            numbers that it predicts. Without labels (no label column), the model's own answers take their place, and
            the metric is the agreement with them.
        target_speedup: Times faster than the original on the same length-grouped batches; None if the settings have
            `max_loss` or `target_latency_ms` instead.
        retrain: Whether to train the reduced model; if not, only encoders that are narrowed change, by least squares.
        dev_data: Data to measure on, of any of these kinds; without it, a share of the data is split off.
        classes: Names of the classes in the order of the model's outputs; by default the model's own.
        text_column: Column of the texts in a table or data frame; by default `text` in a data frame.
        text_pair_column: Column of the second texts, for a model on pairs.
        label_column: Column of the labels; by default `label`, if there is one. Several have 0 or 1 for each label.
        max_disagreement: For texts without labels and one class of several: the share of answers on held-out texts that
            may change, such as 0.01. It takes the place of `target_speedup`.
        label_separator: What is between the labels of a row, for a multi-label model; found by default.
        on_bad_row: `"error"`, or `"skip"` to leave out rows that cannot be used.
        name: Name of the task.
        output_dir: A new or empty folder for settings, weights and results; None to write nothing.
        verbose: 0 for no output, 1 for progress. The report is printed by neither; it is in the returned object.
        **settings: Settings of the run, by the names of its flags: `max_seq_length`, `epochs_retrain`,
            `learning_rate_retrain`, `distillation`, `batch_size`, `metric`, `max_loss`, `latency_batch_size`, `seed`
            and so on; of a table, `delimiter`, `encoding`, `columns` and `quoting`.

    Returns:
        The reduced model with its report, which can predict, be saved and be exported.

    Raises:
        InputError: The model has no head or is unsupported, the data does not fit it, a setting is unknown, or the
            target is out of reach. All this is found before anything is searched or trained.
        OSError: A file cannot be read or written.

    Example:
        >>> fast = powerbert_tf.accelerate("classifier", texts, 1.5, retrain=False, verbose=0)
        >>> fast.predict(["a film to remember"])[0] in ("dull", "fair", "fine")
        True
    """
    check_settings("accelerate", settings)
    _check_method(settings, retrain)
    of_tables = take_table_settings(settings)
    root = require_new(output_dir)
    if not retrain:
        settings |= {"max_loss_of": "searched", "epochs_retrain": 0}
    trained = find_trained_classifier(model, classes)
    columns = column_settings(text_column, text_pair_column, label_column, label_separator, on_bad_row, **of_tables)
    given = read_given({"train": data, "dev": dev_data}, columns, name)
    if max_disagreement is not None:
        require_disagreement(trained, given.has_labels, "max_loss" in settings)
        target_speedup, settings["max_loss"] = None, max_disagreement
    own = (load_labeled if given.has_labels else load_unlabelled)(trained, given.settings, name, given.tables)
    settings["max_seq_length"] = settings.get("max_seq_length") or trained.checkpoint.max_seq_length
    with reporting(verbose):
        say(own.summary)
        folder = {} if root is None else {"output_dir": str(root)}
        resolved = resolve_settings(own.task, target_speedup=target_speedup, **folder, **settings)
        return make_fast(resolved, own, trained.checkpoint, root, adopts=True)


def _check_method(settings: dict[str, Any], retrain: bool) -> None:
    method = settings.get("search_method", "calibrate")
    if method == "paper" or (method != "calibrate" and not retrain):
        raise InputError(
            f"search_method={method}: expected calibrate{', which trains nothing' if not retrain else ' or soft'}."
        )
