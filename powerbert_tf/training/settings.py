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
from powerbert_tf.training.distribution.strategies import DISTRIBUTIONS
from powerbert_tf.training.losses import DISTILLATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings(CheckedSettings):
    """Training."""

    epochs: int = setting("Epochs of each training stage.", check=AT_LEAST_1)
    batch_size: int = setting("Examples of a training step.", check=AT_LEAST_1)
    learning_rate: float = setting("Peak learning rate of BERT's own weights.", check=POSITIVE)
    learning_rate_soft_extract: float = setting(
        "Peak learning rate of the retention parameters in the search.", check=POSITIVE
    )
    warmup_proportion: float = setting(
        "Share of the steps in which the learning rates rise.",
        default=0.1,
        check=Check(lambda value: 0 <= value <= 1, "a share in [0, 1]"),
    )
    weight_decay: float = setting("Decoupled weight decay; 0 for none.", default=0.0, check=NOT_NEGATIVE)
    clipnorm: float = setting("Largest norm of the whole gradient; 0 for no clipping.", default=0.0, check=NOT_NEGATIVE)
    distillation: str = setting(
        "Re-training towards the fine-tuned model's logits (logits), its probabilities (kl), or the labels (none). "
        "Default: logits; none after the paper's search.",
        default="",
        check=one_of(DISTILLATIONS),
    )
    epochs_retrain: int = setting(
        "Epochs of re-training. Default: twice --epochs; as --epochs with --distillation=none.", check=AT_LEAST_1
    )
    learning_rate_retrain: float = setting(
        "Peak learning rate of re-training. Default: twice --learning_rate; as that with --distillation=none.",
        check=POSITIVE,
    )
    seed: int = setting(
        "Of shuffling, dropout and new weights.",
        default=0,
        check=Check(lambda value: 0 <= value < 2**31, "a whole number from 0 to 2147483647"),
    )
    deterministic: bool = setting("Only operations that give the same bits each time; slower on a GPU.", default=False)
    checkpoint_minutes: float = setting(
        "Between two checkpoints of a training, from which it goes on after it was killed; 0 for none.",
        default=5.0,
        check=NOT_NEGATIVE,
    )
    checkpoint_steps: int = setting(
        "Steps between two checkpoints, too; 0 for none.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for none, or a number of steps"),
    )
    distribution: str = setting(
        "Devices that share each batch of training and evaluation: none (one), mirrored (all of this machine), "
        "multi_worker (all of the processes in TF_CONFIG, each of which is given the same command) or tpu.",
        default="none",
        check=one_of(DISTRIBUTIONS),
    )
    tpu: str = setting("Name or address of the TPU of --distribution=tpu; empty for that of this machine.", default="")

    def __post_init__(self):
        super().__post_init__()
        require(not self.tpu or self.distribution == "tpu", "tpu", self.tpu, "--distribution=tpu, too")
