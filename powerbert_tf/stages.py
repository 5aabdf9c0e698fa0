"""The stages of a run: each takes what the ones before left and writes its own files."""

import csv
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from scipy import special

from powerbert_tf.batching import EncodedSplit, encode_split, prediction_batches
from powerbert_tf.checkpoints import Checkpoint, assign_weights, load_classifier, named_weights
from powerbert_tf.datasets import Dataset
from powerbert_tf.errors import InputError
from powerbert_tf.export import export_saved_model
from powerbert_tf.metrics import compute_metrics, predictions_from_logits
from powerbert_tf.modeling import BertClassifier
from powerbert_tf.report import summarize_cost
from powerbert_tf.retention import Configuration, configuration_from_masses, parse_configuration
from powerbert_tf.run_folder import RESULT_FILE, RunFolder, write_json
from powerbert_tf.settings import STAGES, Settings
from powerbert_tf.tasks import Task
from powerbert_tf.tokenization import Tokenizer
from powerbert_tf.training import predict_logits, train

_EXPORT_SAMPLE = 5  # dev rows on which an export is compared with the model


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the stages share."""

    settings: Settings
    task: Task
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    lower_case: bool
    dataset: Dataset
    folder: RunFolder

    @functools.cache  # noqa: B019 - a run lives as long as its process
    def split(self, name: str) -> EncodedSplit:
        """Word-pieces of a split, made once."""
        split = self.dataset.splits[name]
        if name == "train" and self.settings.train_examples:
            split = split.sample(self.settings.train_examples, seed=0)
        return encode_split(split, self.tokenizer, self.settings.max_seq_length)

    def new_model(self, **kwargs) -> BertClassifier:
        """A model of the checkpoint's size with new weights."""
        return BertClassifier(
            self.checkpoint.config,
            self.task.num_outputs,
            self.settings.max_seq_length,
            selection=self.settings.selection,
            **kwargs,
        )

    def load_model(self, stage: str, **kwargs) -> BertClassifier:
        """A model with the weights of a finished stage."""
        model = self.new_model(**kwargs)
        path = self.folder.weights(stage)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path}: cannot be read ({reason}); pass --stage={stage} --overwrite to run the stage again."
            ) from None
        return model

    def dense_model(self) -> BertClassifier:
        return self.load_model("finetune")

    def reduced_model(self) -> BertClassifier:
        return self.load_model("retrain", retention_configuration=self.configuration())

    def configuration(self) -> Configuration:
        """The retention configuration: given by flag, or found by the search."""
        if not self.settings.searches:
            return parse_configuration(
                self.settings.retention_configuration,
                self.checkpoint.config.num_hidden_layers,
                self.settings.max_seq_length,
            )
        result = self.folder.result("search")
        if result is None:
            raise InputError(f"{self.folder.stage('search')}: missing; run --stage=search.")
        return tuple(result["retention_configuration"])

    def settings_of(self, stage: str) -> dict[str, Any]:
        """What the result of a stage depends on."""
        return {name: value for name, value in self.resolved().items() if name in self.settings.of_stage(stage)}

    def resolved(self) -> dict[str, Any]:
        """All settings as they took effect."""
        return {
            **self.settings.to_json(),
            "checkpoint": self.checkpoint.name,
            "case": "uncased" if self.lower_case else "cased",
            "retention_configuration": "" if self.settings.searches else ",".join(map(str, self.configuration())),
            "data": self.dataset.source,
            "data_sha256": self.fingerprint,
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this data from other data."""
        return self.dataset.fingerprint()


def run_stage(run: Run, stage: str) -> None:
    """Runs one stage; its folder appears when all of it is written.

    Raises:
        InputError: Something that the user can put right.
    """
    # Each stage draws its own random numbers, whichever stages ran before it in this process.
    keras.utils.set_random_seed(run.settings.seed + STAGES.index(stage))
    began = time.perf_counter()
    with run.folder.writing(stage) as folder:
        result = {
            "task": run.task.name,
            "data": run.dataset.source,
            **_STAGES[stage](run, folder),
            "seconds": round(time.perf_counter() - began, 1),
            "settings": run.settings_of(stage),
        }
        write_json(folder / RESULT_FILE, result)


def _finetune(run: Run, folder: Path) -> dict[str, Any]:
    model = load_classifier(run.checkpoint, run.task.num_outputs, run.settings.max_seq_length)
    return _train(run, model, folder, "finetune")


def _search(run: Run, folder: Path) -> dict[str, Any]:
    model = run.new_model(soft_extract=True, mass_penalty=run.settings.lambda_)
    _copy_weights(run.dense_model(), model)
    result = _train(run, model, folder, "search")
    masses = model.masses
    return {**result, "masses": masses, "retention_configuration": list(configuration_from_masses(masses))}


def _retrain(run: Run, folder: Path) -> dict[str, Any]:
    configuration = run.configuration()
    model = run.new_model(retention_configuration=configuration)
    _copy_weights(run.load_model("search", soft_extract=True) if run.settings.searches else run.dense_model(), model)
    before = _evaluate_model(run, model)
    shown = ", ".join(f"dev {name} {value:.4f}" for name, value in before.items())
    print(f"  before re-training: {shown}", flush=True)
    result = _train(run, model, folder, "retrain")
    return {**result, "metrics_before": before, "retention_configuration": list(configuration)}


def _train(run: Run, model: BertClassifier, folder: Path, title: str) -> dict[str, Any]:
    outcome = train(model, run.task, run.split("train"), run.split("dev"), run.settings, folder, title)
    return {
        "metric": run.task.metrics[0],
        "metrics": outcome.metrics,
        "epoch": outcome.epoch,
        "examples": len(run.split("dev")),
        "train_examples": len(run.split("train")),
    }


def _copy_weights(source: BertClassifier, target: BertClassifier) -> None:
    """Copies all weights that both models have: all but the retention parameters."""
    retention = frozenset(path for path in named_weights(target) if path.endswith("/retention_parameters"))
    weights = {
        path: variable.numpy()
        for path, variable in named_weights(source).items()
        if not path.endswith("/retention_parameters")
    }
    assign_weights(target, weights, source.name, may_lack=retention)


def _evaluate_model(run: Run, model: BertClassifier) -> dict[str, float]:
    split = run.split("dev")
    logits = predict_logits(model, split, run.settings.eval_batch_size, run.settings.padding)
    return compute_metrics(run.task, cast(np.ndarray, split.labels), logits)  # dev has labels


def _evaluate(run: Run, folder: Path) -> dict[str, Any]:
    dense = run.dense_model()
    before, after = _evaluate_model(run, dense), _evaluate_model(run, run.reduced_model())
    configuration = run.configuration()
    return {
        "metric": run.task.metrics[0],
        "metrics": after,
        "dense": {"metrics": before},
        "reduced": {"metrics": after},
        "retention_configuration": list(configuration),
        "multiply_adds": summarize_cost(
            dense.encoder_size, configuration, run.split("dev").lengths, run.settings.max_seq_length
        ),
        "examples": len(run.split("dev")),
    }


def _predict(run: Run, folder: Path) -> dict[str, Any]:
    split, task = run.dataset.splits["test"], run.task
    encoded, indices = run.split("test"), cast(list[str], split.indices)  # a test split has indices
    logits = predict_logits(run.reduced_model(), encoded, run.settings.eval_batch_size, run.settings.padding)
    predictions = predictions_from_logits(task, logits)
    if task.is_regression:
        # The GLUE server takes similarities from 0 to 5 only.
        answers = [f"{value:.3f}" for value in np.clip(predictions, 0.0, 5.0)]
        columns, values = ["score"], predictions[:, None]
    else:
        answers = [task.classes[number] for number in predictions]
        columns, values = list(task.classes), special.softmax(logits, axis=-1)
    _write_tsv(folder / f"{task.name}.tsv", ["index", "prediction"], zip(indices, answers, strict=True))
    _write_tsv(
        folder / "probabilities.tsv",
        ["index", *columns],
        ([index, *(f"{value:.6f}" for value in row)] for index, row in zip(indices, values, strict=True)),
    )
    return {"examples": len(encoded), "submission": f"{task.name}.tsv"}


def _write_tsv(path: Path, header: list[str], rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerow(header)
        writer.writerows(rows)


def _export(run: Run, folder: Path) -> dict[str, Any]:
    batches, _ = prediction_batches(run.split("dev"), _EXPORT_SAMPLE, padding="max")
    sample = {name: values.numpy() for name, values in next(iter(batches)).items()}
    version = export_saved_model(run.reduced_model(), run.folder.root / "saved_model", run.task.is_regression, sample)
    print(f"  {version}", flush=True)
    return {
        "version": int(version.name),
        "path": str(version.relative_to(run.folder.root)),
        "retention_configuration": list(run.configuration()),
    }


_STAGES: dict[str, Callable[[Run, Path], dict[str, Any]]] = {
    "finetune": _finetune,
    "search": _search,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
}
