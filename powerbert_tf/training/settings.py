"""Flags for training: the optimizer, distillation, checkpoints and devices."""

import dataclasses

from powerbert_tf.common.flags import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    CheckedSettings,
    one_of,
    require,
    setting,
)

DISTILLATIONS = ("logits", "kl", "none")
DISTRIBUTIONS = ("none", "mirrored", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings(CheckedSettings):
    """Training."""

    epochs: int = setting("Epochs of each training stage.", check=AT_LEAST_1)
    batch_size: int = setting("Batch size of training.", check=AT_LEAST_1)
    learning_rate: float = setting(
        "Peak learning rate of BERT's own weights; 0 for that of the fine-tuning that is there, else the task's (5e-5 "
        "for data of your own) times 768 / hidden size: narrow models learn at higher rates.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    learning_rate_soft_extract: float = setting(
        "Peak learning rate of the retention parameters in the search.", check=POSITIVE
    )
    warmup_proportion: float = setting(
        "Share of the steps in which the learning rate rises.",
        default=0.1,
        check=Check(lambda value: 0 <= value <= 1, "a share in [0, 1]"),
    )
    weight_decay: float = setting("Decoupled weight decay; 0 for none.", default=0.0, check=NOT_NEGATIVE)
    clipnorm: float = setting("Largest norm of the whole gradient; 0 for no clipping.", default=0.0, check=NOT_NEGATIVE)
    distillation: str = setting(
        "Target of re-training: the fine-tuned model's logits (logits), its probabilities (kl), or the labels (none). "
        "Default: logits; none with --search_method=paper.",
        default="",
        check=one_of(DISTILLATIONS),
    )
    drop_tokens: float = setting(
        "Share of the tokens that re-training leaves out, others each time, of texts it has seen before; the "
        "fine-tuned model answers what is left. For up to 10,000 training texts, and not with --distillation=none.",
        default=0.1,
        check=Check(lambda value: 0 <= value < 1, "a share in [0, 1)"),
    )
    epochs_retrain: int = setting(
        "Epochs of re-training; 0 for none. Default: twice --epochs; --epochs with --distillation=none.",
        check=Check(lambda value: value >= 0, "0 for none, or a number of epochs"),
    )
    learning_rate_retrain: float = setting(
        "Peak learning rate of re-training; 0 for twice --learning_rate, or --learning_rate with --distillation=none.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    seed: int = setting(
        "Seed of shuffling, dropout and new weights.",
        default=0,
        check=Check(lambda value: 0 <= value < 2**31, "a whole number from 0 to 2147483647"),
    )
    deterministic: bool = setting("Use only operations with reproducible results; slower on a GPU.", default=False)
    checkpoint_minutes: float = setting(
        "Minutes between two checkpoints, from which training resumes after an interruption; 0 for none.",
        default=5.0,
        check=NOT_NEGATIVE,
    )
    checkpoint_steps: int = setting(
        "Steps between two checkpoints, in addition; 0 for none.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for none, or a number of steps"),
    )
    distribution: str = setting(
        "Devices that share each batch of training and evaluation: none (one device), mirrored (all of this machine), "
        "multi_worker (all of the processes in TF_CONFIG, each of which runs the same command) or tpu.",
        default="none",
        check=one_of(DISTRIBUTIONS),
    )
    tpu: str = setting("Name or address of the TPU for --distribution=tpu; empty for that of this machine.", default="")

    def __post_init__(self):
        super().__post_init__()
        require(not self.tpu or self.distribution == "tpu", "tpu", self.tpu, "--distribution=tpu, too")
