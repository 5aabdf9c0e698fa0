"""Flags for the texts that a model reads, and for how it runs on them."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, Check, CheckedSettings, one_of, setting
from powerbert_tf.models.precision import PRECISIONS

CASES = ("auto", "cased", "uncased")
PADDINGS = ("batch", "max")
TRUNCATIONS = ("head", "head_tail")
LENGTH_BUCKETS = 32  # for a plain graph, which takes any length: enough that little is padded
XLA_BUCKETS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings(CheckedSettings):
    """Texts: how many, and how much of each."""

    max_seq_length: int = setting(
        "N, the maximum number of tokens of an input; 0 for a length that 99 % of the training texts fit in. Default: "
        "the task's published value, or 0 for data of your own.",
        check=Check(lambda value: value >= 0, "0, or a number of tokens"),
    )
    truncation: str = setting(
        "How texts longer than N are cut: head keeps the beginning; head_tail keeps a quarter of N from the beginning "
        "and the rest from the end.",
        default="head",
        check=one_of(TRUNCATIONS),
    )
    case: str = setting("cased, uncased, or auto, which follows the vocabulary.", default="auto", check=one_of(CASES))
    train_examples: int = setting(
        "Examples to train on, drawn from the training split with seed 0; 0 for all.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for all, or a number of examples"),
    )
    held_out_share: float = setting(
        "Share of the training rows, at most 2,000 rows, that choose epochs and configurations instead of training, so "
        "that the dev split is for the report alone; 0 trains on all rows and chooses on dev, as the original release "
        "does; -1 takes that of the fine-tuning that is there, else 0.1, or 0 with --search_method=paper.",
        default=-1.0,
        check=Check(lambda value: 0 <= value < 1 or value == -1, "a share in [0, 1), or -1"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceSettings(CheckedSettings):
    """How a model runs."""

    eval_batch_size: int = setting("Batch size of evaluation and prediction.", default=64, check=AT_LEAST_1)
    padding: str = setting(
        "batch pads to the longest example of a batch; max pads to N, as in the paper.",
        default="batch",
        check=one_of(PADDINGS),
    )
    length_buckets: int = setting(
        "Maximum number of lengths that batches are padded to, which are chosen for the least padding. "
        f"Default: {LENGTH_BUCKETS}; {XLA_BUCKETS} with --jit_compile, which compiles once per length.",
        check=AT_LEAST_1,
    )
    jit_compile: bool = setting(
        "Compile training, prediction and measurements with XLA, once per padded length, instead of running a plain "
        "graph. Meant for accelerators; on the CPUs that we measured it was not faster (docs/results.md).",
        default=False,
    )
    precision: str = setting(
        "Precision of training and inference: float32, mixed_bfloat16 or mixed_float16 (with loss scaling); weights "
        "are float32. --stage=evaluate reports what half precision changes.",
        default="float32",
        check=one_of(PRECISIONS),
    )

    def in_plain_graph(self) -> "InferenceSettings":
        """A copy without XLA, for models that run too seldom to be worth compiling."""
        return dataclasses.replace(self, jit_compile=False)
