"""What `accelerate`, `train` and `load` return: a reduced model that takes text, with its report."""

import dataclasses
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.acceleration.explanation import TextExplanation, text_explanation
from powerbert_tf.acceleration.given_data import column_settings, read_given
from powerbert_tf.acceleration.saved_folder import write_saved
from powerbert_tf.batches.encoded_split import EncodedSplit, encode_split
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.labelled_tables import is_in_memory, texts_of
from powerbert_tf.data.metrics import choose_metrics, compute_metrics, format_metrics
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import OwnTask, Task
from powerbert_tf.export.saved_model import write_saved_model
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.precision import computing_in
from powerbert_tf.prediction.answers import named_answers
from powerbert_tf.reports.acceleration_report import AccelerationReport
from powerbert_tf.reports.word_inspector import explain_batches
from powerbert_tf.runs.deployment import deploying
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stage_runner import run_stage
from powerbert_tf.runs.stages.export import export_request
from powerbert_tf.runs.trained_classifier import TrainedClassifier, load_labeled
from powerbert_tf.training.evaluation import predict_logits


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FastClassifier:
    """A reduced classifier of texts, as `accelerate`, `train` and `load` return it.

    Attributes:
        model: The reduced model: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`. It
            eliminates nothing if no configuration was found that is faster.
        report: What it lost and gained; `print(report)` shows it. None for a run that has not been evaluated.
        run: Settings, task, tokenizer, data and results.

    Example:
        >>> fast = powerbert_tf.load("saved")
        >>> fast.predict(["a film to remember"])[0] in fast.classes
        True
        >>> fast.predict_proba("a film to remember").shape
        (1, 3)
    """

    model: BertClassifier
    report: AccelerationReport | None
    run: Run

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits; empty for a regression."""
        return self._task.classes

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Least probability of each label to be an answer, in the order of `classes`; empty for other tasks."""
        return self._task.thresholds

    @property
    def _task(self) -> Task:
        return self.run.task

    def logits(self, texts: Any, text_pairs: Any = None) -> np.ndarray:
        """Computes logits `[n, C]` of raw texts.

        Args:
            texts: A list, a Series, an array, a tensor or a `tf.data.Dataset` of texts; one string is one text. For a
                model on pairs also a list or a `tf.data.Dataset` of pairs of texts.
            text_pairs: As many second texts, for a model on pairs.

        Raises:
            InputError: `text_pairs` is missing for a model on pairs, is given for another model, or has another length;
                or something is no text.
        """
        columns = self._columns(texts, text_pairs)
        if not columns[0]:
            return np.zeros((0, self._task.num_outputs), "float32")
        return self._logits(self._encode(columns))

    def predict(self, texts: Any, text_pairs: Any = None) -> list[Any]:
        """Predicts the name of each text's class, or the list of its labels; for a regression, the number.

        Labels are those with a probability of at least `thresholds`. Arguments: see `logits`.
        """
        return named_answers(self._task, self._task.answers(self.logits(texts, text_pairs)))

    def predict_proba(self, texts: Any, text_pairs: Any = None) -> np.ndarray:
        """Computes probabilities `[n, C]` in the order of `classes`. Arguments: see `logits`.

        Raises:
            InputError: See `logits`; or the model is a regression.
        """
        if self._task.is_regression:
            raise InputError("probabilities: the model is a regression; expected predict.")
        return self._task.answers(self.logits(texts, text_pairs))

    def probabilities(self, texts: Any, text_pairs: Any = None) -> np.ndarray:
        """Another name of `predict_proba`."""
        return self.predict_proba(texts, text_pairs)

    def evaluate(
        self,
        data: Any,
        *,
        text_column: str = "",
        text_pair_column: str = "",
        label_column: str = "",
        on_bad_row: str = "error",
    ) -> dict[str, float]:
        """Computes metrics on texts with labels.

        Args:
            data: The path of a table, a `pandas.DataFrame`, a pair `(texts, labels)`, or a `tf.data.Dataset` of `(text,
                label)`; see `accelerate`. Labels are names of the classes, or their numbers from 0.
            text_column: Column of the texts in a table or data frame; by default that of the data it was made from.
            text_pair_column: Column of the second texts, for a model on pairs.
            label_column: Column of the labels.
            on_bad_row: `"error"`, or `"skip"` to leave out rows that cannot be used.

        Returns:
            Name of the metric -> value, the main one first.

        Raises:
            InputError: The data has no labels, or does not fit the model.
        """
        settings = column_settings(
            *self._column_names(data, text_column, text_pair_column, label_column), on_bad_row=on_bad_row
        )
        given = read_given({"train": data, "dev": data}, settings)
        if not given.has_labels:
            raise InputError("data: has no labels; expected label_column, or a pair (texts, labels).")
        task = self._task
        trained = TrainedClassifier(self.run.checkpoint, task.num_outputs, task.classes, task.is_multi_label)
        split = load_labeled(trained, given.settings, "data", given.tables).dataset.splits["train"]
        if len(split.texts) != 1 + task.is_pair:
            raise InputError(f"data: {len(split.texts)} texts a row; the model was made on {1 + task.is_pair}.")
        labels = split.labels
        assert labels is not None  # has_labels
        if isinstance(task, OwnTask) and task.is_unlabelled:
            task = dataclasses.replace(task, metrics=choose_metrics(task.kind, labels, len(task.classes)))
        return compute_metrics(task, labels, self._logits(self._encode(split.texts)))

    def explain(self, text: str, text_pair: str | None = None) -> TextExplanation:
        """Shows which tokens of a text the model eliminates, and where.

        Args:
            text: One text.
            text_pair: Its second text, for a model on pairs.

        Returns:
            An object with a `table`, a row per token, which a notebook shows as HTML.

        Raises:
            InputError: It is not one text.
        """
        for name, value in {"text": text, "text_pair": text_pair}.items():
            if not isinstance(value, str) and not (name == "text_pair" and value is None):
                raise InputError(f"{name}: a {type(value).__name__}; expected one text.")
        encoded = self._encode(self._columns(text, text_pair))
        inputs = (inputs for inputs, _ in prediction_batches(encoded, 1))
        spelled = self.run.tokenizer.spelled()
        with computing_in(self.run.settings.inference.precision):
            (found,) = explain_batches(
                self.model,
                self.model,
                inputs,
                [0],
                spelled,
                self._task.kind,
                temperatures=(self._task.temperature,) * 2,
            )
        (answer,) = named_answers(self._task, found.reduced[None])
        probabilities = dict(zip(self.classes, map(float, found.reduced), strict=False))
        return text_explanation(found, answer, probabilities)

    def save(self, folder: str | Path) -> Path:
        """Writes the reduced model with tokenizer, configuration, classes, thresholds and report.

        `powerbert_tf.load` reads it in another process, on any backend. It is a folder in Hugging Face's format, too,
        where `transformers` sees a model that eliminates nothing.

        Args:
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            InputError: The folder holds files.
            OSError: It cannot be written.
        """
        trained = self.report is not None and self.report.retrained
        no_gain = "" if self.report is None else self.report.no_gain
        return write_saved(self.run, self.model, Path(folder), {"retrained": trained, "no_gain": no_gain})

    def export(self, folder: str | Path) -> Path:
        """Writes a SavedModel that takes text, as the next version in `folder`, see `docs/serving.md`.

        Returns:
            The folder of the version.

        Raises:
            InputError: Keras does not run on TensorFlow.
            OSError: It cannot be written.
        """
        if keras.backend.backend() != "tensorflow":
            raise InputError(
                f"export: KERAS_BACKEND is {keras.backend.backend()}; expected tensorflow. Save the classifier, and "
                "export it where Keras runs on TensorFlow."
            )
        folder, settings = Path(folder), self.run.settings
        with computing_in(settings.inference.precision):
            request = export_request(self.run, {"": self.model}, settings.export)
            with write_saved_model(request, folder) as written:
                pass
        return folder / str(written["version"])

    def deploy(self, requests: Any = None, **settings: Any) -> dict[str, Any]:
        """Measures every form of the model that this machine can run, and recommends one, see `docs/deploying.md`.

        Args:
            requests: What is served: a file, a list of texts, or of pairs of texts; None for the dev split.
            **settings: Flags of the stage by name, such as `deploy_batch_size` and `latency_limit_ms`.

        Returns:
            The content of `deploy/result.json` in the folder of the run; `chosen` is the form to serve.

        Raises:
            InputError: The classifier has no folder or no data; or a setting or a request is wrong.
        """
        if not (isinstance(self.run.results, RunFolder) and self.run.dataset.splits):
            raise InputError(
                "deploy: needs data, and a folder for what it exports; expected a classifier that accelerate or train "
                "made with output_dir."
            )
        run_stage(deploying(self.run, requests, **settings), "deploy")
        return self.run.results.finished("deploy")

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints the report, and what the model is; `model.summary()` lists its layers.

        Args:
            print_fn: Takes the text.
        """
        print_fn("\n".join([str(self.report or "not evaluated"), *self._facts()]))

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes else "a regression"
        found = [what]
        if self.report is not None:
            metric = self.report.metric
            found.append(f"{self.report.measured_speedup:.2f}x faster")
            found.append(
                f"{format_metrics({metric: self.report.reduced[metric]})} (was {self.report.original[metric]:.4f})"
            )
        return f"<FastClassifier {self._task.name}: {', '.join(found)}>"

    def _repr_html_(self) -> str:
        """A card with the verdict, for notebooks."""
        verdict = ("not evaluated",) if self.report is None else self.report.verdict
        first, *others = (html.escape(line) for line in verdict)
        facts = "".join(f"<li>{html.escape(line)}</li>" for line in self._facts())
        return (
            '<div style="border:1px solid #8888;border-radius:6px;padding:0.6em 1em;max-width:48em">'
            f"<b>{html.escape(self._task.name)}: {first}</b>{''.join(f'<br>{line}' for line in others)}"
            f'<ul style="margin:0.4em 0 0">{facts}</ul></div>'
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a FastClassifier cannot be pickled or copied; save(folder) writes it, and powerbert_tf.load(folder) reads "
            "it again."
        )

    def _facts(self) -> list[str]:
        """What the model is, in lines."""
        config, task = self.model.config, self._task
        texts = "pairs of texts" if task.is_pair else "texts"
        classes = f": {', '.join(self.classes)}" if self.classes else ""
        return [
            f"{task.kind.title} of {texts} of up to {self.model.max_seq_length} tokens{classes}",
            f"{config.num_hidden_layers} encoders, {self.model.count_params():,} weights; keeps {self.model.reduction}",
        ]

    def _columns(self, texts: Any, text_pairs: Any) -> tuple[list[str], ...]:
        """The columns of texts, as lists of strings."""
        if text_pairs is None and self._task.is_pair:
            texts, text_pairs = _sides(texts)
        given = {"texts": texts} if text_pairs is None else {"texts": texts, "text_pairs": text_pairs}
        columns = tuple(texts_of(column, name) for name, column in given.items())
        if len(columns) != 1 + self._task.is_pair:
            expected = "texts and text_pairs" if self._task.is_pair else "texts only"
            raise InputError(f"text_pairs: the model was made on {expected}; expected them here, too.")
        if len({len(column) for column in columns}) > 1:
            raise InputError(f"text_pairs: {len(columns[-1])} for {len(columns[0])} texts; expected the same number.")
        return columns

    def _column_names(self, data: Any, text: str, pair: str, label: str) -> tuple[str, str, str]:
        """Columns of data: those that are given, else those of the data it was made from, where it has them."""
        if text or not isinstance(self._task, OwnTask):
            return text, pair, label
        first, second, *_ = (*self._task.text_columns, "")
        columns = getattr(data, "columns", None)
        if is_in_memory(data) if columns is None else first not in columns:
            return text, pair, label
        own = self._task.label_column
        return first, second, label or (own if columns is None or own in columns else "")

    def _encode(self, columns: Any) -> EncodedSplit:
        length = self.run.settings.inputs.max_seq_length
        return encode_split(Split(columns, None, None), self.run.tokenizer, length)

    def _logits(self, encoded: EncodedSplit) -> np.ndarray:
        settings = self.run.settings.inference
        with computing_in(settings.precision):
            return predict_logits(self.model, encoded, settings)


Accelerated = FastClassifier  # its name before


def _sides(pairs: Any) -> tuple[Any, Any]:
    """The first and the second texts of pairs; of something else, itself and None."""
    if isinstance(pairs, tf.data.Dataset) and isinstance(pairs.element_spec, tuple) and len(pairs.element_spec) == 2:
        return pairs.map(lambda first, _: first), pairs.map(lambda _, second: second)
    if isinstance(pairs, list) and pairs and all(isinstance(one, tuple | list) and len(one) == 2 for one in pairs):
        return [first for first, _ in pairs], [second for _, second in pairs]
    return pairs, None
