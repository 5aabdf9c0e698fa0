"""What the stages of a run share: settings, data, models of finished stages, costs."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.batches.batching import EncodedSplit, prediction_batches
from powerbert_tf.batches.encoded_cache import load_encoded
from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.files import find_cache_folder
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.tasks import Task
from powerbert_tf.elimination.retention import (
    Configuration,
    format_configuration,
    parse_configuration,
    validate_configuration,
)
from powerbert_tf.latency.cost_files import load_costs
from powerbert_tf.latency.costs import Costs, count_costs, grouped_lengths, require_reachable, speedup_for_latency
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.settings import Settings, names_of_stage
from powerbert_tf.tokenizers.word_pieces import Tokenizer
from powerbert_tf.training.distribution.processes import by_chief, num_processes
from powerbert_tf.training.train import TrainingSetup


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

    @property
    def cache_folder(self) -> Path | None:
        """Where word-pieces and measured costs are kept; None to keep nothing."""
        return find_cache_folder(self.settings.cache_dir)

    @functools.cache  # noqa: B019 - a run lives as long as its process
    def split(self, name: str) -> EncodedSplit:
        """Word-pieces of a split, made once."""
        split = self.dataset.splits[name]
        if name == "train" and self.settings.inputs.train_examples:
            split = split.sample(self.settings.inputs.train_examples, seed=0)
        return load_encoded(split, self.tokenizer, self.settings.inputs.max_seq_length, self.cache_folder)

    def training_setup(self) -> TrainingSetup:
        """The data and settings of a training stage."""
        settings = self.settings
        return TrainingSetup(self.task, self.split("train"), self.split("dev"), settings.training, settings.inference)

    def new_model(self, **kwargs) -> BertClassifier:
        """A model of the checkpoint's size with new weights."""
        return BertClassifier(
            self.checkpoint.config,
            self.task.num_outputs,
            self.settings.inputs.max_seq_length,
            selection=self.settings.search.selection,
            choices=self.task.choices,
            **kwargs,
        )

    def load_model(self, stage: str, **kwargs) -> BertClassifier:
        """A model with the weights of a finished stage."""
        model = self.new_model(**kwargs)
        path = self.folder.weights(stage)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(error)
            raise InputError(
                f"{path}: cannot be read ({reason}); pass --stage={stage} --overwrite to run the stage again."
            ) from None
        return model

    def dense_model(self) -> BertClassifier:
        return self.load_model("finetune")

    def searched_model(self) -> BertClassifier:
        """The weights that re-training starts from, eliminating nothing: the search's own, or the fine-tuned ones."""
        if not self.settings.search.searches or self.settings.search.search_method == "calibrate":
            return self.dense_model()
        if self.settings.search.search_method == "paper":
            return self.load_model("search", soft_extract=True).with_slots()
        return self.load_model("search")

    def reduced_model(self) -> BertClassifier:
        return self.load_model("retrain", retention_configuration=self.configuration())

    def configuration(self) -> Configuration:
        """The retention configuration: given by flag, or found by the search."""
        if not self.settings.search.searches:
            return parse_configuration(
                self.settings.search.retention_configuration,
                self.checkpoint.config.num_hidden_layers,
                self.settings.inputs.max_seq_length,
            )
        result = self.folder.result("search")
        if result is None:
            raise InputError(f"{self.folder.stage('search')}: missing; run --stage=search.")
        return validate_configuration(
            result["retention_configuration"],
            self.checkpoint.config.num_hidden_layers,
            self.settings.inputs.max_seq_length,
        )

    def settings_of(self, stage: str) -> dict[str, Any]:
        """What the result of a stage depends on."""
        return {name: value for name, value in self.resolved().items() if name in names_of_stage(self.settings, stage)}

    def exported(self) -> dict[str, Any]:
        """What an earlier export with the same settings says of each format that it wrote."""
        try:
            result = self.folder.result("export")
        except InputError:
            return {}
        now = self.settings_of("export")
        # More may have been recorded by an earlier version: the formats themselves.
        fits = result is not None and now.items() <= result["settings"].items()
        return dict(result["formats"]) if result and fits else {}

    def exporting(self, overwrite: bool) -> "Run":
        """This run, asked for the formats that are not there yet; with `overwrite`, or where all are, as it is."""
        there = {} if overwrite else self.exported()
        missing = tuple(name for name in self.settings.export.formats if name not in there)
        if missing in ((), self.settings.export.formats):
            return self  # with the word-pieces that it holds
        return dataclasses.replace(self, settings=self.settings.replace(export_format=",".join(missing)))

    def resolved(self) -> dict[str, Any]:
        """All settings as they took effect."""
        return {
            **self.settings.to_json(),
            "checkpoint": self.checkpoint.name,
            "case": "uncased" if self.lower_case else "cased",
            "retention_configuration": ""
            if self.settings.search.searches
            else format_configuration(self.configuration()),
            "data": self.dataset.source,
            "data_sha256": self.fingerprint,
        }

    @functools.cached_property
    def costs(self) -> Costs:
        """What configurations cost on the dev split's length-grouped batches; measured once a device."""
        settings, config = self.settings, self.checkpoint.config
        if settings.measuring.cost_model == "measured":
            table = load_costs(
                config,
                settings.inputs.max_seq_length,
                settings.measuring.latency_batch_size,
                self.cache_folder,
                settings.inference.jit_compile,
            )
        else:
            table = count_costs(
                config.encoder_size, settings.inputs.max_seq_length, settings.measuring.latency_batch_size
            )
        lengths = grouped_lengths(self.split("dev").lengths, settings.measuring.latency_batch_size)
        return Costs(table, lengths, config.num_hidden_layers)

    def share_costs(self) -> None:
        """Gives all processes the chief's costs, so that all decide alike."""
        if num_processes() > 1:
            shared = by_chief(lambda: dataclasses.asdict(self.costs))
            vars(self)["costs"] = Costs.from_json(shared)

    def target_speedup(self) -> float | None:
        """The speed-up that the flags ask for; None where they ask for a metric.

        Raises:
            InputError: It is out of reach.
        """
        if self.settings.search.max_loss:
            return None
        if self.settings.search.target_latency_ms:
            return speedup_for_latency(self.costs, self.settings.search.target_latency_ms)
        require_reachable(self.costs, "target_speedup", self.settings.search.target_speedup)
        return self.settings.search.target_speedup

    def pareto_targets(self) -> tuple[float, ...]:
        """The speed-ups of `--target_speedups`.

        Raises:
            InputError: One is out of reach.
        """
        targets = self.settings.search.pareto_targets()
        for target in targets:
            require_reachable(self.costs, "target_speedups", target)
        return targets

    def calibration_batches(self) -> list[dict[str, np.ndarray]]:
        """Inputs of some training examples, grouped by length."""
        train = self.split("train")
        count = min(self.settings.search.calibration_examples, len(train))
        rows = np.random.default_rng(self.settings.training.seed).permutation(len(train))[:count]
        batches = prediction_batches(train.take(rows), self.settings.inference.eval_batch_size)
        return list(batches.dataset(with_labels=False).as_numpy_iterator())

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this data from other data."""
        return self.dataset.fingerprint()
