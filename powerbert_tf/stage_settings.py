"""What the result of each stage depends on: where that is the same, the result is used again."""

from powerbert_tf.settings import TARGETS, Settings, flag_name

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
    names = [*_FINETUNE, *(name for name, usual in _SELDOM.items() if getattr(settings, name) != usual)]
    if stage == "export":
        names += _EXPORT
    if stage == "export" and settings.export_model != "retrain":
        stage = settings.export_model
    if stage in ("search", "retrain", "evaluate", "predict", "export", "explain", "report"):
        if settings.searches:
            names += _SEARCH if settings.search_method == "paper" else (*_SEARCH, *TARGETS, *_COSTS)
            names += {"paper": _PAPER, "soft": _SOFT, "calibrate": _CALIBRATE}[settings.search_method]
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
    if settings.jit_compile and set(_COSTS) <= set(names):
        names += _COMPILATION
    return (*(flag_name(name) for name in names), "data", "data_sha256")
