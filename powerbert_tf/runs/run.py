"""A run: settings, task, checkpoint, data and results, and what its stages share."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.batches.encoded_cache import load_encoded
from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.batches.settings import InferenceSettings
from powerbert_tf.checkpoints import Checkpoint, load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import find_cache_folder
from powerbert_tf.data.datasets import Dataset
from powerbert_tf.data.kinds import LABELS, NUMBER
from powerbert_tf.data.metrics import fitted_task, predictions_from_logits
from powerbert_tf.data.splits import Split, split_off
from powerbert_tf.data.tasks import OwnTask, Task
from powerbert_tf.elimination.reduction import WIDTHS, Reduction, parse_widths
from powerbert_tf.elimination.retention import Configuration, format_configuration, parse_configuration
from powerbert_tf.latency.cost_files import load_costs
from powerbert_tf.latency.costs import Costs, count_costs, grouped_lengths, require_reachable, speedup_for_latency
from powerbert_tf.latency.speed import SpeedTest
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.narrow import prefix
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.results import Results
from powerbert_tf.runs.settings import Settings, names_of_stage
from powerbert_tf.search.allocation import Widths
from powerbert_tf.search.rebuilding import with_reduction
from powerbert_tf.search.settings import SEARCH_METHODS
from powerbert_tf.tokenizers.word_pieces import Tokenizer
from powerbert_tf.training.distribution.processes import by_chief, num_processes
from powerbert_tf.training.evaluation import evaluate_model, predict_logits
from powerbert_tf.training.train import TrainingSetup

_REBUILDING_ROWS = 32_768  # word-vectors of training text: more do not help, see docs/results.md
_MOST_HELD_OUT = 2000  # rows: enough to tell epochs apart
HELD_OUT = "held_out"  # name of the split


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the stages share. Tokens, costs and the hash of the data are computed once, when first needed.

    Attributes:
        settings: Settings of the run.
        task: Its task.
        checkpoint: The checkpoint that it starts from.
        tokenizer: Tokenizer of the texts.
        dataset: Its data.
        results: Where stages leave results and models: a `RunFolder`, or `MemoryResults`.
        adopts: Whether the checkpoint is a trained classifier whose own weights take the place of fine-tuned ones.
    """

    settings: Settings
    task: Task
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    dataset: Dataset
    results: Results
    adopts: bool = False
    _splits: dict[str, EncodedSplit] = dataclasses.field(default_factory=dict)

    def replaced(self, **changes: Any) -> "Run":
        """This run with changed attributes; what was computed from the data stays."""
        other = dataclasses.replace(self, **changes)
        vars(other).update({name: value for name, value in vars(self).items() if name not in vars(other)})
        return other

    @property
    def folder(self) -> RunFolder:
        """The results, where they are in a folder."""
        return cast(RunFolder, self.results)

    @property
    def cache_folder(self) -> Path | None:
        """Folder that keeps tokens and measured costs; None to keep nothing."""
        return find_cache_folder(self.settings.cache_dir)

    def split(self, name: str) -> EncodedSplit:
        """Tokens of a split: of the data, or `held_out`, the training rows that choose instead of training.

        Raises:
            InputError: The training rows are too few to hold some out.
        """
        if name not in self._splits:
            length = self.settings.inputs.max_seq_length
            self._splits[name] = load_encoded(self._rows[name], self.tokenizer, length, self.cache_folder)
        return self._splits[name]

    @functools.cached_property
    def original(self) -> BertClassifier:
        """The checkpoint's own classifier."""
        return load_classifier(
            self.checkpoint, self.task.num_outputs, self.settings.inputs.max_seq_length, kind=self.task.kind
        )

    @functools.cached_property
    def labelled(self) -> Mapping[str, Split]:
        """The splits of the data; without labels, those for training and dev have the classifier's own answers."""
        if not (isinstance(self.task, OwnTask) and self.task.is_unlabelled):
            return self.dataset.splits
        is_here = "original" in vars(self) or self.results.result("finetune") is None
        model = self.original if is_here else self.dense_model()

        def with_answers(split: Split) -> Split:
            encoded = load_encoded(split, self.tokenizer, self.settings.inputs.max_seq_length, self.cache_folder)
            logits = predict_logits(model, encoded, self.settings.inference)
            return dataclasses.replace(split, labels=predictions_from_logits(self.task, logits))

        splits = self.dataset.splits.items()
        return {name: split if name == "test" else with_answers(split) for name, split in splits}

    @functools.cached_property
    def _rows(self) -> Mapping[str, Split]:
        inputs, train = self.settings.inputs, self.labelled["train"]
        if inputs.train_examples:
            train = train.sample(inputs.train_examples, seed=0)
        if not inputs.held_out_share:
            return {**self.labelled, "train": train}
        try:
            train, held_out = split_off(train, inputs.held_out_share, _MOST_HELD_OUT)
        except InputError as error:
            raise InputError(
                f"--held_out_share={inputs.held_out_share}: {error}; expected 0, to choose on dev, or more rows."
            ) from None
        return {**self.labelled, "train": train, HELD_OUT: held_out}

    @property
    def choosing(self) -> str:
        """Name of the split that epochs and configurations are chosen on."""
        return HELD_OUT if self.settings.inputs.held_out_share else "dev"

    def load_model(self, stage: str, narrowed: Reduction | None = None, own: bool = False, **kwargs) -> BertClassifier:
        """The model of a finished stage, in encoders as wide as `narrowed` says.

        Takes arguments of `BertClassifier`. With `own`, no one else has its weights, so that it can be trained.

        Raises:
            InputError: The weights cannot be read.
        """
        config = self.checkpoint.config
        if narrowed is not None:
            config = dataclasses.replace(config, neurons=narrowed.neurons, heads=narrowed.heads)

        def make() -> BertClassifier:
            return BertClassifier(
                config,
                self.task.num_outputs,
                self.settings.inputs.max_seq_length,
                selection=self.settings.search.selection,
                choices=self.task.choices,
                **kwargs,
            )

        return self.results.model(stage, make, own)

    def dense_model(self, own: bool = False) -> BertClassifier:
        """The fine-tuned model; to train it, `own` has to be true."""
        return self.load_model("finetune", own=own)

    def searched_model(self, own: bool = False) -> BertClassifier:
        """The reduced model that re-training starts from, with the weights of the search, or the fine-tuned ones.

        To train it, `own` has to be true.
        """
        search, reduction = self.settings.search, self.reduction()
        if not search.searches:
            dense = self.dense_model(own and not reduction.is_narrowed)
            return with_reduction(dense, reduction, self.rebuilding_batches(), selection=search.selection)
        if search.search_method == "paper":
            return self.reduce(self.load_model("search", soft_extract=True), reduction)
        if SEARCH_METHODS[search.search_method].trains:  # at full width
            return self.reduce(self.load_model("search"), reduction)
        if not reduction.is_narrowed:
            return self.reduce(self.dense_model(own), reduction)
        # A search that trains nothing has weights of its own, of rebuilt encoders.
        return self.reduce(self.load_model("search", reduction), reduction)

    def reduced_model(self) -> BertClassifier:
        reduction = self.reduction()
        return self.load_model("retrain", reduction, retention_configuration=reduction.rows)

    def reduce(self, model: BertClassifier, reduction: Reduction) -> BertClassifier:
        """A model that keeps what `reduction` says of `model`: of its neurons and heads, the first ones.

        It shares the weights of `model`, unless it is narrower.
        """
        config = model.config
        if reduction.is_narrowed and (reduction.neurons, reduction.heads) != (config.neurons, config.heads):
            model = prefix(model, reduction.neurons, reduction.heads)
        return with_retention(model, reduction.rows, selection=self.settings.search.selection)

    def reduction(self) -> Reduction:
        """What each encoder keeps: what the flags say, or else what the search found."""
        search, num_encoders = self.settings.search, self.checkpoint.config.num_hidden_layers
        max_seq_length = self.settings.inputs.max_seq_length
        if search.searches:
            return self.reduction_of(self.results.finished("search"))
        rows = search.retention_configuration or format_configuration((1.0,) * num_encoders)
        widths = {name: parse_widths(name, getattr(search, name)) for name in WIDTHS}
        return Reduction(parse_configuration(rows, num_encoders, max_seq_length), **widths)

    def reduction_of(self, result: Mapping[str, Any]) -> Reduction:
        """The reduction in a result of a stage, or in one of its budgets."""
        num_encoders, max_seq_length = self.checkpoint.config.num_hidden_layers, self.settings.inputs.max_seq_length
        return Reduction.from_json(result, num_encoders, max_seq_length)

    def configuration(self) -> Configuration:
        """The retention configuration: how many word-vectors each encoder keeps."""
        return self.reduction().rows

    def fitted(self, model: BertClassifier) -> dict[str, Any]:
        """What makes answers of a model's logits, fitted on the rows that choose, as entries of `result.json`.

        `temperature`, if rows are held out, which a regression and a model's own answers have none of; and
        `thresholds` of several labels.
        """
        holds_out = self.choosing == HELD_OUT
        if self.task.kind is NUMBER or not (holds_out or self.task.kind is LABELS):
            return {}
        rows = self.split(self.choosing)
        logits = predict_logits(model, rows, self.settings.inference)  # as training has evaluated it on these rows
        task = fitted_task(self.task, cast(np.ndarray, rows.labels), logits, scales=holds_out)
        return {
            **({"temperature": task.temperature} if holds_out and not task.is_unlabelled else {}),
            **({"thresholds": list(task.thresholds)} if task.thresholds else {}),
        }

    def task_of(self, stage: str) -> Task:
        """The task with the temperature and the thresholds of the model of a finished stage, if it has some.

        Raises:
            InputError: They are not one for each label.
        """
        result = self.results.finished(stage)
        task = dataclasses.replace(self.task, temperature=result.get("temperature", 1.0))
        if task.kind is not LABELS:
            return task
        thresholds = tuple(result.get("thresholds", ()))
        if len(thresholds) != len(self.task.classes):
            raise InputError(
                f"{stage}/result.json: {len(thresholds)} thresholds for {len(self.task.classes)} labels; pass "
                f"--stage={stage} --overwrite to run the stage again."
            )
        return dataclasses.replace(task, thresholds=thresholds)

    def training_setup(self) -> TrainingSetup:
        """The data and settings of a training stage."""
        settings = self.settings
        return TrainingSetup(
            self.task,
            self.split("train"),
            self.split("dev"),
            settings.training,
            settings.inference,
            self.split(HELD_OUT) if settings.inputs.held_out_share else None,
        )

    def evaluate(
        self, model: BertClassifier, inference: InferenceSettings | None = None, split: str = "dev"
    ) -> dict[str, float]:
        """Metrics of a model on a split with labels, the main one first."""
        return evaluate_model(model, self.task, self.split(split), inference or self.settings.inference)

    def evaluate_once(self, model: BertClassifier, split: str = "dev") -> dict[str, float]:
        """The same of a model that runs once: compiling it would take longer than running it."""
        return self.evaluate(model, self.settings.inference.in_plain_graph(), split)

    @property
    def speed_test(self) -> SpeedTest:
        """What measures models on the dev split."""
        return SpeedTest(self.split("dev"), self.settings.measuring.latency_batch_size, self.settings.inference)

    def settings_of(self, stage: str) -> dict[str, Any]:
        """The settings that a stage's result depends on."""
        names = names_of_stage(self.settings, stage)
        return {name: value for name, value in self.resolved().items() if name in names}

    def exported(self) -> dict[str, Any]:
        """Results of an earlier export with the same settings, by format."""
        try:
            result = self.folder.result("export")
        except InputError:
            return {}
        # An earlier version recorded more: the formats themselves.
        fits = result is not None and self.settings_of("export").items() <= result["settings"].items()
        return dict(result["formats"]) if result and fits else {}

    def exporting(self, overwrite: bool) -> "Run":
        """This run with only the formats that are missing; with all of them if `overwrite`, or if none is missing."""
        there = {} if overwrite else self.exported()
        missing = [name for name in self.settings.export.formats if name not in there]
        if len(missing) in (0, len(self.settings.export.formats)):
            return self
        return dataclasses.replace(self, settings=self.settings.replace(export_format=",".join(missing)))

    def resolved(self) -> dict[str, Any]:
        """All settings as they took effect."""
        return {
            **self.settings.to_json(),
            "checkpoint": self.checkpoint.name,
            "case": "uncased" if self.tokenizer.lower_case else "cased",
            "retention_configuration": ""
            if self.settings.search.searches
            else format_configuration(self.configuration()),
            "data": self.dataset.source,
            "data_sha256": self.fingerprint,
        }

    @functools.cached_property
    def costs(self) -> Costs:
        """Costs of configurations on the dev split's length-grouped batches; measured once per device."""
        settings, config = self.settings, self.checkpoint.config
        length, batch_size = settings.inputs.max_seq_length, settings.measuring.latency_batch_size
        if settings.measuring.cost_model == "measured":
            table = load_costs(config, length, batch_size, self.cache_folder, settings.inference.jit_compile)
        else:
            table = count_costs(config.encoder_size, length, batch_size)
        widths = Widths.of(config, settings.search.dimensions)
        return Costs(
            table,
            grouped_lengths(self.split("dev").lengths, batch_size),
            config.num_hidden_layers,
            widths.neurons[0],
            widths.heads[0],
        )

    def share_costs(self) -> None:
        """Gives all processes the chief's costs, so that all decide alike."""
        if num_processes() > 1:
            shared = by_chief(lambda: dataclasses.asdict(self.costs))
            vars(self)["costs"] = Costs.from_json(shared)

    def target_speedup(self) -> float | None:
        """The speed-up that the flags ask for; None if they ask for a metric.

        Raises:
            InputError: It is out of reach.
        """
        search = self.settings.search
        if search.max_loss:
            return None
        if search.target_latency_ms:
            return speedup_for_latency(self.costs, search.target_latency_ms)
        require_reachable(self.costs, "target_speedup", search.target_speedup)
        return search.target_speedup

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
        """Inputs of the training examples that damages are measured on, grouped by length."""
        return self._training_inputs(self._shuffled_training_rows()[: self.settings.search.calibration_examples])

    def rebuilding_batches(self) -> list[dict[str, np.ndarray]]:
        """Inputs of the training examples that narrowed encoders are rebuilt on: others, as far as there are some."""
        rows = self._shuffled_training_rows()
        others = np.roll(rows, -min(self.settings.search.calibration_examples, len(rows)))
        words = np.cumsum(self.split("train").lengths[others])
        return self._training_inputs(others[: np.searchsorted(words, _REBUILDING_ROWS) + 1])

    def _shuffled_training_rows(self) -> np.ndarray:
        return np.random.default_rng(self.settings.training.seed).permutation(len(self.split("train")))

    def _training_inputs(self, rows: np.ndarray) -> list[dict[str, np.ndarray]]:
        batches = prediction_batches(self.split("train").take(rows), self.settings.inference.eval_batch_size)
        return [inputs for inputs, _ in batches]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the data."""
        return self.dataset.fingerprint()
